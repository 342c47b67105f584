"""A process that connects to a unix socket and then does what callers do; one JSON command per line on standard input.

Every command is answered with one line on standard output before the next is read.
"""

import json
import os
import socket
import sys

path = sys.argv[1]
held = []


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.set_inheritable(True)
    held.append(connection)
    return {"pid": os.getpid()}


def connect_many(count):
    """One after the other; each is closed when the server has closed it."""
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.recv(1)


def fork_and_exit():
    """The child goes on with the connections and the commands, the parent ends."""
    if os.fork() > 0:
        os._exit(0)


def connect_as_zombie():
    """A child connects and ends without being waited for; its own child keeps the connection."""
    child = os.fork()
    if child == 0:
        connect()
        if os.fork() == 0:
            # Ends when the caller does: that closes the other end of standard input.
            while os.read(0, 1) != b"":
                pass
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    return {"pid": child}


def change_user(uid, gid, groups):
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def execute(command):
    print("{}", flush=True)
    os.execv(command[0], command)


def join_cgroup(folder):
    with open(os.path.join(folder, "cgroup.procs"), "w") as processes:
        processes.write(str(os.getpid()))


commands = {
    "connect": connect,
    "connect_many": connect_many,
    "fork_and_exit": fork_and_exit,
    "connect_as_zombie": connect_as_zombie,
    "change_user": change_user,
    "execute": execute,
    "join_cgroup": join_cgroup,
}

for line in sys.stdin:
    command = json.loads(line)
    answer = commands[command["do"]](**command.get("with", {}))
    print(json.dumps({"pid": os.getpid(), **(answer or {})}), flush=True)
