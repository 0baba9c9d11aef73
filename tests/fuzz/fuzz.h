/* fuzz.h: what the fuzz targets share: checks, and an input that is read as numbers. A target is a function of its
   input as far as threads can be; what fails aborts, and libFuzzer keeps the input. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define expect(condition) ((condition) ? (void)0 : expectation_failed(__FILE__, __LINE__, #condition))

static inline _Noreturn void expectation_failed(const char *file, int line, const char *condition)
{
    dprintf(STDERR_FILENO, "%s:%d: not true: %s\n", file, line, condition);
    abort();
}

struct input {
    const uint8_t *at, *end;
};

/* The next byte; zeros follow the last. */
static inline unsigned input_byte(struct input *input) { return input->at < input->end ? *input->at++ : 0; }

#endif
