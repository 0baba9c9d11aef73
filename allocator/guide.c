/* guide.c: where brim's memory is described, for who reads a process from outside: scripts/maps, a debugger, a core
   dump. One object, found by its first 16 bytes in the library's (or the static program's) data; nothing in brim reads
   it. It says where the tables are and how their rows are laid out, so that the reader needs no debug information, and
   none of it moves while the process runs. */
#include "mapping.h"
#include "region.h"

static struct {
    alignas(256) char magic[16]; /* changes when the words below do; all of them in one page */
    const void *regions, *region_count;
    const void *mapping_table; /* where its address is; NULL there: no mappings yet */
    uint32_t region_size, region_base, region_map, region_dirty, region_capacity, region_is_break;
    uint32_t slice_size, slice_shift; /* of a descriptor in bytes; of what it describes */
    uint32_t table_capacity, table_bytes, table_entries;
    uint32_t mapping_size, mapping_pointer, mapping_base, mapping_length; /* a pointer of 0 or 1: none */
} guide __attribute__((used)) = {
    .magic = {'b', 'r', 'i', 'm', 0xc5, 'g', 'u', 'i', 'd', 'e', 0xd7, 0x0e, 0xa3, 0x91, 0x6b, 1},
    .regions = regions,
    .region_count = &region_count,
    .mapping_table = &mappings.table,
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
};
