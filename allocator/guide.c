/* guide.c: where brim's memory is described, for who reads a process from outside: scripts/maps, a debugger, a core
   dump. One object, found by its first 16 bytes in the library's (or the static program's) constant data; nothing in
   brim reads it. It says where the tables are and how their rows are laid out, so that the reader needs no debug information, and
   none of it moves while the process runs. */
#include "heap_open.h"
#include "mapping.h"
#include "region.h"

static const struct {
    char magic[16]; /* changes when the words below do */
    const void *regions, *region_count;
    const void *mapping_table; /* where its address is; NULL there: no mappings yet */
    const void *heap_handles; /* the same for the first handle */
    uint32_t region_size, region_base, region_map, region_dirty, region_capacity, region_is_break;
    uint32_t slice_size, slice_shift; /* of a descriptor in bytes; of what it describes */
    uint32_t table_capacity, table_bytes, table_entries;
    uint32_t mapping_size, mapping_pointer, mapping_base, mapping_length; /* a pointer of 0 or 1: none */
    uint32_t heap_size, heap_base, heap_limit, heap_kind, heap_in_use, heap_next, unused;
} guide __attribute__((used)) = {
    .magic = {'b', 'r', 'i', 'm', 0xc5, 'g', 'u', 'i', 'd', 'e', 0xd7, 0x0e, 0xa3, 0x91, 0x6b, 1},
    .regions = regions,
    .region_count = &region_count,
    .mapping_table = &mappings.table,
    .heap_handles = &heap_handles,
    .region_size = sizeof(struct region),
    .region_base = offsetof(struct region, base),
    .region_map = offsetof(struct region, map),
    .region_dirty = offsetof(struct region, dirty),
    .region_capacity = offsetof(struct region, capacity),
    .region_is_break = offsetof(struct region, is_break),
    .slice_size = sizeof(struct slice),
    .slice_shift = SLICE_SHIFT,
    .table_capacity = offsetof(struct mapping_table, capacity),
    .table_bytes = offsetof(struct mapping_table, bytes),
    .table_entries = offsetof(struct mapping_table, entries),
    .mapping_size = sizeof(struct mapping),
    .mapping_pointer = offsetof(struct mapping, pointer),
    .mapping_base = offsetof(struct mapping, base),
    .mapping_length = offsetof(struct mapping, length),
    .heap_size = sizeof(struct brim_heap),
    .heap_base = offsetof(struct brim_heap, base),
    .heap_limit = offsetof(struct brim_heap, limit),
    .heap_kind = offsetof(struct brim_heap, kind),
    .heap_in_use = offsetof(struct brim_heap, in_use),
    .heap_next = offsetof(struct brim_heap, next),
};
