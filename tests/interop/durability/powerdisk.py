"""A file system that forgets what was not synced when its power is cut. Linux, root, nothing to install.

It speaks the kernel's FUSE protocol itself and keeps everything in memory: for each file its content and, since the last
fsync, how to undo each write. `cut` undoes them. Creations, renames and removals become durable with the next fsync of
anything, as on a journalling file system. As a program: `python3 -m durability.powerdisk MOUNTPOINT`, commands on stdin
(`cut`, `cut some SEED`: a random part of the unsynced writes survives, `slow MILLISECONDS`: for each read, `quit`), one
answer line each on stdout.
"""

import ctypes
import errno
import os
import random
import stat
import struct
import subprocess
import sys
import threading
import time

IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<6Q3I7I")
ROOT = 1
WRITE_MAX = 1 << 20
SYNC_FLAGS = os.O_SYNC | os.O_DSYNC
LOOKUP, FORGET, GETATTR, SETATTR, MKNOD, MKDIR, UNLINK, RMDIR, RENAME = 1, 2, 3, 4, 8, 9, 10, 11, 12
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR = 14, 15, 16, 17, 18, 20, 25, 26, 27, 28
RELEASEDIR, FSYNCDIR, ACCESS, CREATE, INTERRUPT, DESTROY, BATCH_FORGET = 29, 30, 34, 35, 36, 38, 42
FALLOCATE, RENAME2, SYNCFS = 43, 45, 50
NO_REPLY = (FORGET, INTERRUPT, BATCH_FORGET)
SIZE_CHANGES = 1 << 3
KEEP_SIZE = 1


class Node:
    """A file or a folder. `undo` holds (offset, bytes before, size before) of every write since the last sync."""

    numbers = iter(range(ROOT, 1 << 62))

    def __init__(self, mode):
        self.number = next(Node.numbers)
        self.mode = mode
        self.data = bytearray()
        self.children = {}
        self.undo = []
        self.time = time.time_ns()

    @property
    def is_folder(self):
        return stat.S_ISDIR(self.mode)

    def write(self, offset, data):
        size = len(self.data)
        if offset > size:
            self.data.extend(bytes(offset - size))
        self.undo.append((offset, bytes(self.data[offset : offset + len(data)]), size))
        self.data[offset : offset + len(data)] = data
        self.time = time.time_ns()

    def resize(self, size):
        before = len(self.data)
        if size < before:
            self.undo.append((size, bytes(self.data[size:]), before))
            del self.data[size:]
        elif size > before:
            self.undo.append((before, b"", before))
            self.data.extend(bytes(size - before))
        self.time = time.time_ns()

    def revert(self, survives):
        """Back to the last sync; `survives()` says of each later write whether it had reached the disk by chance."""
        for offset, before, size in reversed(self.undo):
            if survives():
                continue
            if len(self.data) < size:
                self.data.extend(bytes(size - len(self.data)))
            self.data[offset : offset + len(before)] = before
            del self.data[max(size, 0) :]
        self.undo.clear()

    def attributes(self):
        seconds, nanoseconds = divmod(self.time, 10**9)
        return ATTRIBUTES.pack(
            self.number, len(self.data), (len(self.data) + 511) // 512, seconds, seconds, seconds, nanoseconds, nanoseconds,
            nanoseconds, self.mode, 2 if self.is_folder else 1, 0, 0, 0, 4096, 0,
        )


class Failure(OSError):
    """An error for the caller of the system call."""


class PowerDisk:
    def __init__(self, mountpoint):
        self.mountpoint = mountpoint
        self.root = Node(stat.S_IFDIR | 0o755)
        self.nodes = {self.root.number: self.root}
        self.names_undo = []
        self.read_seconds = 0
        self.lock = threading.Lock()
        self.handlers = self.table()
        self.device = os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"powerdisk", mountpoint.encode(), b"fuse", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount", mountpoint)
        self.unmount = lambda: libc.umount2(mountpoint.encode(), 2)

    def serve(self):
        while True:
            try:
                request = os.read(self.device, WRITE_MAX + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, code, unique, number, *_ = IN_HEADER.unpack_from(request)
            with self.lock:
                try:
                    failure, body = 0, self.handle(code, number, memoryview(request)[IN_HEADER.size :])
                except Failure as error:
                    failure, body = error.errno, b""
            if code not in NO_REPLY:
                os.write(self.device, OUT_HEADER.pack(OUT_HEADER.size + len(body), -failure, unique) + body)

    def handle(self, code, number, body):
        handler = self.handlers.get(code)
        if handler is None:
            raise Failure(errno.ENOSYS, f"operation {code}")
        return handler(number, body) or b""

    def table(self):
        """Operation -> function of the node's number and the body; no result means an empty answer."""
        nothing = dict.fromkeys((FORGET, RELEASE, FLUSH, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET), lambda number, body: None)
        return nothing | {
            INIT: lambda number, body: self.init(),
            LOOKUP: lambda number, body: self.entry(self.child(number, text(body))),
            GETATTR: lambda number, body: bytes(16) + self.node(number).attributes(),
            SETATTR: self.set_attributes,
            MKNOD: lambda number, body: self.entry(self.add(number, text(body[16:]), first(body))),
            MKDIR: lambda number, body: self.entry(self.add(number, text(body[8:]), stat.S_IFDIR | first(body))),
            CREATE: lambda number, body: self.entry(self.add(number, text(body[16:]), first(body[4:]))) + bytes(16),
            UNLINK: lambda number, body: self.remove(number, text(body), folder=False),
            RMDIR: lambda number, body: self.remove(number, text(body), folder=True),
            RENAME: lambda number, body: self.rename(number, *struct.unpack_from("<Q", body), *names(body[8:])),
            RENAME2: lambda number, body: self.rename(number, *struct.unpack_from("<Q", body), *names(body[16:])),
            OPEN: self.open,
            OPENDIR: self.open,
            READ: self.read,
            WRITE: self.write,
            STATFS: lambda number, body: struct.pack("<5Q4I24x", 1 << 22, 1 << 22, 1 << 22, 1 << 20, 1 << 20, 4096, 255, 4096, 0),
            FSYNC: lambda number, body: self.sync(self.node(number)),
            FSYNCDIR: lambda number, body: self.names_undo.clear(),
            SYNCFS: lambda number, body: self.names_undo.clear(),
            READDIR: self.list,
            FALLOCATE: self.allocate,
        }

    def open(self, number, _):
        self.node(number)
        return bytes(16)

    def read(self, number, body):
        time.sleep(self.read_seconds)
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(self.node(number).data[offset : offset + size])

    def init(self):
        big_writes, max_pages = 1 << 5, 1 << 22
        flags = big_writes | max_pages
        return struct.pack("<4IHHIIHHI28x", 7, 31, 0, flags, 16, 12, WRITE_MAX, 1, WRITE_MAX // 4096, 0, 0)

    def node(self, number):
        if number not in self.nodes:
            raise Failure(errno.ESTALE, "no such node")
        return self.nodes[number]

    def child(self, number, name):
        child = self.node(number).children.get(name)
        if child is None:
            raise Failure(errno.ENOENT, name)
        return child

    @staticmethod
    def entry(node):
        # Nothing may be cached by the kernel: after a cut, all of it can be different.
        return struct.pack("<4Q2I", node.number, 0, 0, 0, 0, 0) + node.attributes()

    def add(self, number, name, mode):
        children = self.node(number).children
        if name in children:
            raise Failure(errno.EEXIST, name)
        children[name] = node = Node(mode)
        self.nodes[node.number] = node
        self.names_undo.append((children, name, None))
        return node

    def remove(self, number, name, folder):
        node = self.child(number, name)
        if folder and node.children:
            raise Failure(errno.ENOTEMPTY, name)
        self.set_name(self.node(number).children, name, None)

    def rename(self, number, target_number, name, new_name):
        node = self.child(number, name)
        target = self.node(target_number).children
        existing = target.get(new_name)
        if existing is not None and existing.is_folder and existing.children:
            raise Failure(errno.ENOTEMPTY, new_name)
        self.set_name(self.node(number).children, name, None)
        self.set_name(target, new_name, node)

    def set_name(self, children, name, node):
        self.names_undo.append((children, name, children.get(name)))
        if node is None:
            children.pop(name, None)
        else:
            children[name] = node

    def set_attributes(self, number, body):
        node = self.node(number)
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & SIZE_CHANGES:
            node.resize(size)
        return bytes(16) + node.attributes()

    def write(self, number, body):
        node = self.node(number)
        _, offset, size, _, _, flags, _ = struct.unpack_from("<QQIIQII", body)
        node.write(offset, body[40 : 40 + size])
        if flags & SYNC_FLAGS:
            self.sync(node)
        return struct.pack("<II", size, 0)

    def allocate(self, number, body):
        node = self.node(number)
        _, offset, length, mode = struct.unpack_from("<QQQI", body)
        if mode & ~KEEP_SIZE:
            raise Failure(errno.EOPNOTSUPP, "only plain allocation")
        if not mode and offset + length > len(node.data):
            node.resize(offset + length)

    def list(self, number, body):
        _, offset, size = struct.unpack_from("<QQI", body)
        out = b""
        for position, (name, node) in enumerate(list(self.node(number).children.items())[offset:], offset + 1):
            raw = name.encode()
            entry = struct.pack("<QQII", node.number, position, len(raw), node.mode >> 12) + raw
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out

    def sync(self, node):
        node.undo.clear()
        self.names_undo.clear()

    def cut(self, survives=lambda: False):
        """Power off: every unsynced change is gone. The caller has killed the processes that had files open."""
        with self.lock:
            unsynced = len(self.names_undo) + sum(len(node.undo) for node in self.nodes.values())
            for children, name, before in reversed(self.names_undo):
                if before is None:
                    children.pop(name, None)
                else:
                    children[name] = before
            self.names_undo.clear()
            for node in self.nodes.values():
                node.revert(survives)
            return unsynced


def first(body):
    return struct.unpack_from("<I", body)[0]


def text(body):
    return bytes(body).split(b"\0", 1)[0].decode()


def names(body):
    first, second, *_ = bytes(body).split(b"\0")
    return first.decode(), second.decode()


def main(mountpoint):
    disk = PowerDisk(mountpoint)
    threading.Thread(target=disk.serve, daemon=True).start()
    print("mounted", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "quit":
            break
        if words[0] == "slow":
            disk.read_seconds = int(words[1]) / 1000
            print(words[1], flush=True)
            continue
        coin = random.Random(words[2]) if words[1:2] == ["some"] else None
        print(disk.cut(lambda: coin is not None and coin.random() < 0.5), flush=True)
    disk.unmount()


class Disk:
    """The file system in a process of its own, as a context manager; `path` is where it is mounted."""

    def __init__(self, path):
        self.path = str(path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "durability.powerdisk", self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        )
        if self.process.stdout.readline().strip() != "mounted":
            raise OSError(self.process.stderr.read().strip().splitlines()[-1])

    def cut(self, some_with_seed=None):
        """Returns how many changes had not been synced."""
        return self.command("cut" if some_with_seed is None else f"cut some {some_with_seed}")

    def slow(self, milliseconds):
        """From now on each read takes so long."""
        self.command(f"slow {milliseconds}")

    def command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.communicate("quit\n", timeout=10)
        finally:
            self.process.kill()


if __name__ == "__main__":
    main(sys.argv[1])
