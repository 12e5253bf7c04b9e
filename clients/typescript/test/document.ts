// A small OpenAPI document with the shapes that features have: nested items, keys in the path, required parameters, actions.

type Schema = Record<string, unknown>;
const TEXT = { type: "string" };
const NUMBER = { type: "integer" };
const CONDITION = { name: "If-Match", in: "header", schema: TEXT };
const KEY = { name: "Idempotency-Key", in: "header", schema: TEXT };
const KNOWN = { $ref: "#/components/parameters/Known" };

function object(properties: Record<string, Schema>, required = Object.keys(properties)): Schema {
  return { type: "object", properties, required };
}

function json(schema: Schema): Schema {
  return { content: { "application/json": { schema } } };
}

function ref(name: string): Schema {
  return { $ref: `#/components/schemas/${name}` };
}

function answer(schema: Schema): Schema {
  return { description: "Success.", ...json(schema) };
}

function operation(operationId: string, responses: Schema, parameters: unknown[] = [], body?: string): Schema {
  const requestBody = body ? { requestBody: { required: true, ...json(ref(body)) } } : {};
  return { operationId, description: `Do ${operationId}. */`, parameters, responses, ...requestBody };
}

function page(item: string): Schema {
  const pagination = object({ next_cursor: { type: ["string", "null"] }, prev_cursor: { type: ["string", "null"] } });
  return { 200: answer(object({ items: { type: "array", items: ref(item) }, pagination })) };
}

function inPath(name: string, schema: Schema = NUMBER): Schema {
  return { name, in: "path", required: true, schema };
}

function inQuery(name: string, required = false): Schema {
  return { name, in: "query", required, schema: TEXT };
}

/** The paths of a resource with the ordinary operations. */
function ordinary(plural: string, singular: string, name: string): Record<string, Schema> {
  const id = inPath(`${singular}_id`);
  return {
    [`/api/v1/${plural}`]: {
      get: operation(`list_${plural}`, page(name), [inQuery("cursor"), inQuery("page"), inQuery("sort"), KNOWN]),
      post: operation(`create_${singular}`, { 201: answer(ref(name)) }, [KEY], `New${name}`),
    },
    [`/api/v1/${plural}/{${singular}_id}`]: {
      parameters: [id],
      get: operation(`get_${singular}`, { 200: answer(ref(name)), 304: { description: "Known." } }, [KNOWN]),
      put: operation(`replace_${singular}`, { 200: answer(ref(name)) }, [CONDITION], `New${name}`),
      patch: operation(`update_${singular}`, { 200: answer(ref(name)) }, [CONDITION], `New${name}`),
      delete: operation(`delete_${singular}`, { 204: { description: "Deleted." } }, [CONDITION]),
    },
  };
}

const key = inPath("key", TEXT);
const absent = { name: "If-None-Match", in: "header", schema: { const: "*" } };
const waypoints = { type: "array", items: object({ name: TEXT, latitude: { type: "number" }, longitude: { type: "number" } }) };

export const DOCUMENT = {
  openapi: "3.1.0",
  info: { title: "Features", version: "1" },
  paths: {
    "/health": { get: operation("get_health", { 200: answer(object({ status: TEXT })) }) },
    ...ordinary("trips", "trip", "Trip"),
    "/api/v1/users/{user_id}/trips": { get: operation("list_trips_of", page("Trip"), [inPath("user_id")]) },
    ...ordinary("courses", "course", "Course"),
    "/api/v1/courses/{course_id}/enrolments": {
      get: operation("list_course_enrolments", page("Enrolment"), [inPath("course_id")]),
      post: operation("enrol", { 201: answer(ref("Enrolment")) }, [inPath("course_id"), KEY]),
    },
    "/api/v1/enrolments/{enrolment_id}": {
      patch: operation("grade_enrolment", { 200: answer(ref("Enrolment")) }, [inPath("enrolment_id")], "Grade"),
      delete: operation("delete_enrolment", { 204: { description: "Deleted." } }, [inPath("enrolment_id")]),
    },
    "/api/v1/items/{key}": {
      get: operation("get_item", { 200: answer(ref("Item")) }, [key]),
      put: operation("put_item", { 200: answer(ref("Item")), 201: answer(ref("Item")) }, [key, CONDITION, absent], "ItemValue"),
      delete: operation("delete_item", { 204: { description: "Deleted." } }, [key, CONDITION]),
    },
    "/api/v1/transfers": { post: operation("create_transfer", { 200: answer(ref("Transfer")) }, [KEY], "NewTransfer") },
    "/api/v1/weather": { get: operation("get_weather", { 200: answer(ref("Weather")) }, [inQuery("city", true)]) },
    // An irregular plural, and names that are not identifiers or that the module uses itself.
    ...ordinary("people", "person", "List"),
    "/api/v1/2fa-codes/{in}": {
      post: { ...operation("send_2fa_code", { 202: { description: "Accepted." } }, [inPath("in")]), requestBody: json(object({ text: TEXT })) },
    },
  },
  components: {
    parameters: { Known: { name: "If-None-Match", in: "header", schema: TEXT } },
    schemas: {
      Problem: object({ code: { enum: ["course_full", "not_found"] }, title: TEXT, detail: TEXT, request_id: TEXT, status: NUMBER }),
      FieldErrors: { type: "object", additionalProperties: { type: "array", items: TEXT } },
      Trip: object({ id: NUMBER, name: TEXT, waypoints }),
      NewTrip: object({ name: TEXT, waypoints }, ["name"]),
      Course: object({ id: NUMBER, code: TEXT }),
      NewCourse: object({ code: TEXT }),
      Enrolment: object({ id: NUMBER, grade: { type: ["string", "null"] } }),
      Grade: object({ grade: TEXT }),
      Item: object({ key: TEXT, val: { type: ["string", "integer"] } }),
      ItemValue: object({ val: { type: ["string", "integer"] } }),
      Transfer: object({ from: ref("Item"), to: ref("Item") }),
      NewTransfer: object({ from: TEXT, to: TEXT, amount: NUMBER }),
      Weather: object({ city: TEXT, temperature_c: { type: "number" } }),
      List: object({ id: NUMBER }),
      NewList: object({ id: NUMBER }),
    },
  },
};
