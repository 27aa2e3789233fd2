"""Spellings that must not get anywhere: a corpus for every place that takes a path."""

TRAVERSALS = [
    "..",
    "../",
    "../secret.txt",
    "a/../../secret.txt",
    "a/..",
    "./../secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "///",
    "\\etc\\passwd",
    "\\\\server\\share",
    "..\\secret.txt",
    "a\\..\\..\\secret.txt",
    "a/..\\..\\secret.txt",
    "C:\\Windows",
    "C:/Windows",
    "c:secret.txt",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "%2fetc%2fpasswd",
    "%5cetc",
    "..%5csecret.txt",
    "a\0b",
    "a%00b",
    "\0",
    "a/\ud800/b",
    "n" * 256,
    "a/" * 2048,
    "proc/../../secret.txt",
]

EMPTY = ["", ".", "./", "././."]

NOT_TEXT = [None, 1, True, [], {}, ["a"], 1.5]

HARMLESS = [
    "a..b",
    "...",
    "....",
    "..a",
    "a..",
    "100%",
    "50%25",
    "a b",
    "new\nline",
    "tab\tbell\a",
    "ünïcödé",
    "\udcff\udcfe.bin",
    "n" * 255,
    "-rf",
    "ab:c",
    "back\\slash",
    "~root",
    "$HOME",
    "con",
    "\uff0e\uff0e",
]

LINKS_OUT = ["/etc/passwd", "/etc", "..", "../secret.txt", "../../../../../../etc/passwd", "/proc/self/root", "//"]
