"""The command `flask scaffold`, which writes a new feature or a new project; also `python -m gatepost.scaffold`."""

from __future__ import annotations

import click
from flask.cli import ScriptInfo


@click.command(short_help="Write the package of a new feature, or a new project.")
@click.argument("name", required=False)
@click.argument("fields", nargs=-1)
@click.option("--owned", is_flag=True, help="Rows belong to a user, and do not exist for others.")
@click.option("--into", default="features", metavar="PACKAGE", help="The package of the new one; by default features.")
@click.option("--singular", metavar="NAME", help="What one row is called, if dropping the plural's ending is wrong.")
@click.option("--project", metavar="FOLDER", help="Write a new project instead, with one feature, into a new folder.")
@click.option("--gatepost", metavar="REQUIREMENT", help="Where the project gets Gatepost from: a version or a path.")
def scaffold(
    name: str | None,
    fields: tuple[str, ...],
    owned: bool,
    into: str,
    singular: str | None,
    project: str | None,
    gatepost: str | None,
) -> None:
    """Write the package of a feature: models, schemas, service, views, migration, examples and tests.

    NAME is its plural, such as `trips`. A field is NAME:TYPE, with the type text, integer, number, boolean, date,
    datetime or choice=ONE/OTHER; text if there is none. A `?` at its end makes it optional, with a default.
    NAME[]:FIELD,FIELD is an ordered list of objects. Without --owned, anyone reads the rows and administrators write
    them.

    \b
      flask --app run scaffold trips name:text destination:text? 'waypoints[]:name,latitude:number' --owned
    """
    if project is not None and name is None:
        _write_project(project, gatepost)
    elif project is not None:
        raise click.UsageError("Write the project first, and its features from its folder.")
    elif name is None:
        raise click.UsageError("Give the name of a feature, such as trips, or --project FOLDER.")
    else:
        _write_feature(name, fields, owned=owned, into=into, singular=singular)


def _write_feature(name: str, fields: tuple[str, ...], *, owned: bool, into: str, singular: str | None) -> None:
    # Imported here, because they import the application, which `flask --help` does not need.
    from app.components import components_of
    from gatepost.scaffold.feature import context_of, feature_files, package_folder, plan_feature, refuse_conflicts
    from gatepost.scaffold.files import render, write_package

    feature = plan_feature(name, fields, owned=owned, into=into, singular=singular)
    folder = package_folder(feature.package)
    path = folder.relative_to(folder.cwd()).as_posix()
    if folder.exists():
        raise click.ClickException(f"{path} exists already.")
    info = click.get_current_context().find_object(ScriptInfo) or ScriptInfo(app_import_path="run")
    app = info.load_app()
    with app.app_context():
        refuse_conflicts(feature, app)
    texts = render("feature", feature_files(feature), context_of(feature))
    write_package(folder, texts)
    click.echo(f"Wrote the feature {name}; one row is called {feature.one}:")
    for file in texts:
        click.echo(f"  {path}/{file}")
    features = ",".join([*components_of(app).settings.features, feature.package])
    click.echo("Next:")
    click.echo(f"  echo FEATURES={features} >> .env")
    click.echo("  flask --app run db upgrade")
    click.echo(f"  pytest {path} --feature {feature.package}")


def _write_project(folder: str, requirement: str | None) -> None:
    from gatepost.scaffold.project import write

    write(folder, requirement)
