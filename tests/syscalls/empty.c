/* empty.c: a library with nothing in it: what any preloaded library costs a process. */
