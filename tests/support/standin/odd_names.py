"""Names that a shell would take for more than names, and what would tell that one did: a file
called `pwned`."""

NAMES = (
    "a b",
    "it's",
    'say "x"',
    "$(touch pwned)",
    "; touch pwned;",
    "`touch pwned`",
    "&& touch pwned",
    "-rf",
    "--",
    "new\nline",
    "back\\slash",
    "trailing\\",
    "* ? [a]",
    "~",
    "$HOME",
    "#x",
    "%s",
    "!x",
    "é ü",
)


def place_in_each(connection, top, model):
    """Copies `model` into a folder of each name below `top` there; returns {name: path there}."""
    from pnas_tf.devices.connection import RemoteStore

    return {name: RemoteStore(connection, f"{top}/{name}").place(model) for name in NAMES}
