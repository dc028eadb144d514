"""Compares an EROFS image, mounted in a mount namespace of its own, with an extracted tree.

usage: unshare --mount --propagation private python3 compare_trees.py IMAGE MOUNTPOINT TREE

Prints a line for every difference in names, types, modes, owners, sizes, times, devices, links,
attributes or contents; exits with 0 only if there is none, and then prints the number of files.
"""

import ctypes
import os
import stat
import sys

MS_RDONLY = 1


def mount(image, target):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(image.encode(), target.encode(), b"erofs", MS_RDONLY, b"") != 0:
        sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")


LARGE = 32 << 20
STEP = 1 << 20


def ranges(file, size):
    """What to read of a file: everything, or of large ones the data and the ends of holes."""
    if size <= LARGE:
        yield 0, size
        return
    position = 0
    while position < size:
        try:
            data = os.lseek(file, position, os.SEEK_DATA)
        except OSError:
            data = size
        yield from ((at, min(STEP, data - at)) for at in (position, max(position, data - STEP)))
        if data == size:
            return
        position = os.lseek(file, data, os.SEEK_HOLE)
        yield from ((at, min(STEP, position - at)) for at in range(data, position, STEP))


def same_contents(ours, theirs):
    mine, other = os.open(ours, os.O_RDONLY), os.open(theirs, os.O_RDONLY)
    try:
        parts = list(ranges(other, os.fstat(other).st_size))
        return all(os.pread(mine, length, at) == os.pread(other, length, at) for at, length in parts)
    finally:
        os.close(mine)
        os.close(other)


def attributes(path):
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def describe(path):
    """Everything about one file but its names, as a dictionary."""
    status = os.lstat(path)
    facts = {
        "mode": oct(status.st_mode),
        "owner": (status.st_uid, status.st_gid),
        "mtime": status.st_mtime_ns,
        "xattrs": attributes(path),
    }
    if stat.S_ISDIR(status.st_mode):
        names = os.listdir(path)
        facts["names"] = sorted(names)
        facts["links"] = 2 + sum(stat.S_ISDIR(os.lstat(os.path.join(path, name)).st_mode) for name in names)
    else:
        facts["links"] = status.st_nlink
    if stat.S_ISREG(status.st_mode):
        facts["size"] = status.st_size
    if stat.S_ISLNK(status.st_mode):
        facts["target"] = os.readlink(path)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        facts["device"] = status.st_rdev
    return facts


def compare(ours, theirs, name, inodes, report):
    """Compares one file; `inodes` remembers which of ours belongs to which of theirs."""
    mine, other = describe(ours), describe(theirs)
    for key in mine.keys() | other.keys():
        if mine.get(key) != other.get(key):
            report(f"{name!r}: {key}: {mine.get(key)!r} instead of {other.get(key)!r}")
    status = os.lstat(ours)
    if not stat.S_ISDIR(status.st_mode):
        expected = inodes.setdefault(status.st_ino, os.lstat(theirs).st_ino)
        if expected != os.lstat(theirs).st_ino:
            report(f"{name!r}: linked to another file")
    elif os.stat(ours).st_nlink != mine["links"]:
        report(f"{name!r}: {os.stat(ours).st_nlink} links instead of {mine['links']}")
    if stat.S_ISREG(status.st_mode) and not same_contents(ours, theirs):
        report(f"{name!r}: other contents")
    return mine.get("names", [])


def main():
    image, target, tree = sys.argv[1:]
    mount(image, target)
    differences, inodes, count = [], {}, 0
    pending = ["."]
    while pending:
        name = pending.pop()
        count += 1
        ours, theirs = os.path.join(target, name), os.path.join(tree, name)
        if not os.path.lexists(theirs):
            differences.append(f"{name!r}: not in the tree")
            continue
        children = compare(ours, theirs, name, inodes, differences.append)
        pending.extend(os.path.join(name, child) for child in children)
    for line in differences:
        print(line)
    if differences:
        sys.exit(1)
    print(count)


main()
