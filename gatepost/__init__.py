"""Tools for those who build on Gatepost: the pytest plug-in and the scaffold."""
