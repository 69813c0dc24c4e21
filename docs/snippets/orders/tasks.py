from raceway import Group


def close_kitchen(reason):
    Group("kitchen").broadcast({"closed": reason})
