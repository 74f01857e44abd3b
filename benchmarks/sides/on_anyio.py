LACKS = {"with_timeout": "x", "fanout": "y"}


def works():
    return {}
