/* classes.c: every size and alignment finds the right class; the arithmetic that the fast paths do with a
   class is exact. */
#include "unit.h"

#include "allocator/base.h"

#include "allocator/classes.h"

Test(classes, every_size_finds_the_smallest_that_fits)
{
    for (size_t size = 0; size <= CLASS_MAX; size++) {
        unsigned class = class_of(size);
        check(class < CLASS_COUNT);
        check(size_classes[class].block_size >= size);
        check(class == 0 || size_classes[class - 1].block_size < size);
    }
    check(size_classes[CLASS_COUNT - 1].block_size == CLASS_MAX);
}

Test(classes, rounding_wastes_at_most_a_fifth)
{
    for (size_t size = 1; size <= CLASS_MAX; size++) {
        size_t block_size = size_classes[class_of(size)].block_size, waste = block_size - size;
        check(size <= 128 ? waste < 16 : waste * 5 < block_size);
    }
}

Test(classes, rows)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct size_class *row = &size_classes[class];
        size_t slab_size = row->slices * SLICE_SIZE;
        check(row->block_size % BLOCK_ALIGNMENT == 0);
        check(class == 0 || row->block_size > size_classes[class - 1].block_size);
        check(row->slices >= 1 && row->slices <= SLAB_SLICES_MAX);
        check(row->capacity == slab_size / row->block_size && row->capacity >= 8);
        check((slab_size - (size_t)row->capacity * row->block_size) * 8 < slab_size);
    }
    /* A power of two has a class of its own: so an aligned request wastes nothing. */
    for (size_t size = BLOCK_ALIGNMENT; size <= CLASS_MAX; size *= 2)
        check(size_classes[class_of(size)].block_size == size);
}

/* Reciprocal and limit tell the start of a block from its inside and from the slab's tail, for every offset. */
Test(classes, reciprocal_is_exact)
{
    for (unsigned class = 0; class < CLASS_COUNT; class ++) {
        const struct size_class *row = &size_classes[class];
        for (uint32_t offset = 0; offset < row->slices * SLICE_SIZE; offset++)
            check((offset * row->reciprocal < row->limit) ==
                  (offset % row->block_size == 0 && offset / row->block_size < row->capacity));
    }
}

Test(classes, aligned)
{
    for (size_t alignment = BLOCK_ALIGNMENT; alignment <= CLASS_MAX; alignment *= 2)
        for (size_t size = 0; size <= CLASS_MAX; size++) {
            unsigned class = class_of_aligned(alignment, size);
            check(class < CLASS_COUNT);
            check(size_classes[class].block_size >= size && size_classes[class].block_size % alignment == 0);
            for (unsigned below = class; below-- > 0 && size_classes[below].block_size >= size;)
                check(size_classes[below].block_size % alignment != 0);
        }
}
