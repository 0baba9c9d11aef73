/* unwind.c: see unwind.h. */
#include "unwind.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

/* Numbers of the registers in the frame information. */
#if defined(__x86_64__)
enum { REGISTER_BASE = 6, REGISTER_STACK = 7, REGISTER_LINK = 16 };
#else
enum { REGISTER_BASE = 29, REGISTER_STACK = 31, REGISTER_LINK = 30 };
#endif

/* ---- bytes ---- */

struct reader {
    const uint8_t *at, *end;
};

static uint64_t read_bytes(struct reader *reader, size_t count)
{
    uint64_t value = 0;
    if ((size_t)(reader->end - reader->at) < count) {
        reader->at = reader->end;
        return 0;
    }
    memcpy(&value, reader->at, count); /* little-endian, as both architectures are */
    reader->at += count;
    return value;
}

static uint64_t read_leb(struct reader *reader, bool is_signed)
{
    if (likely(reader->at < reader->end && *reader->at < 0x40))
        return *reader->at++; /* most are small, and so positive */
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte = 0x80;
    while ((byte & 0x80) != 0 && reader->at < reader->end) {
        byte = *reader->at++;
        value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        shift += 7;
    }
    if (is_signed && shift < 64 && (byte & 0x40) != 0)
        value |= ~(uint64_t)0 << shift;
    return value;
}

static uint64_t read_unsigned(struct reader *reader) { return read_leb(reader, false); }
static int64_t read_signed(struct reader *reader) { return (int64_t)read_leb(reader, true); }

/* Encoded pointers: DW_EH_PE_*. */
enum { FORMAT_MASK = 0x0f, FORMAT_ABSOLUTE = 0, FORMAT_U4 = 3, FORMAT_U8 = 4, FORMAT_S4 = 0xb, FORMAT_S8 = 0xc };
enum { BASE_MASK = 0x70, BASE_PLACE = 0x10 };
enum { HEADER_TABLE = 0x3b, HEADER_COUNT = 3, HEADER_FRAMES = 0x1b }; /* as every linker writes them */

static uint64_t read_encoded(struct reader *reader, uint8_t encoding)
{
    uint64_t place = (encoding & BASE_MASK) == BASE_PLACE ? (uintptr_t)reader->at : 0;
    switch (encoding & FORMAT_MASK) {
    case FORMAT_U4: return place + read_bytes(reader, 4);
    case FORMAT_S4: return place + (uint64_t)(int64_t)(int32_t)read_bytes(reader, 4);
    case FORMAT_ABSOLUTE:
    case FORMAT_U8:
    case FORMAT_S8: return place + read_bytes(reader, 8);
    default: reader->at = reader->end; return 0;
    }
}

/* ---- the frame information of an address ---- */

/* .eh_frame_hdr: where .eh_frame is, and a table sorted by address, relative to itself. */
struct header {
    uint8_t version, frames_encoding, count_encoding, table_encoding;
    int32_t frames;
    uint32_t count;
    struct {
        int32_t code, information;
    } table[];
};

RARE void unwind_init(void)
{
    const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    size_t count = headers ? getauxval(AT_PHNUM) : 0;
    uintptr_t bias = 0, start = UINTPTR_MAX, end = 0, information = 0;
    for (size_t i = 0; i < count; i++)
        if (headers[i].p_type == PT_PHDR)
            bias = (uintptr_t)headers - headers[i].p_vaddr;
    for (size_t i = 0; i < count; i++) {
        uintptr_t address = bias + headers[i].p_vaddr;
        if (headers[i].p_type == PT_LOAD) {
            start = address < start ? address : start;
            end = max_size(end, address + headers[i].p_memsz);
        }
        if (headers[i].p_type == PT_GNU_EH_FRAME)
            information = address;
    }
    own_program.start = start;
    own_program.end = end;
    own_program.header = (const struct header *)information;
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
#pragma weak _dl_find_object
static const struct header *header_find(uintptr_t code)
{
    struct dl_find_object object;
    if (_dl_find_object && _dl_find_object((void *)code, &object) == 0)
        return object.dlfo_eh_frame;
    return code >= own_program.start && code < own_program.end ? own_program.header : NULL;
}
#else
static const struct header *header_find(uintptr_t code)
{
    return code >= own_program.start && code < own_program.end ? own_program.header : NULL;
}
#endif

/* The entry of the function that `code` is in; NULL if there is none. */
static const uint8_t *entry_find(uintptr_t code)
{
    const struct header *header = header_find(code);
    if (!header || header->version != 1 || header->table_encoding != HEADER_TABLE ||
        header->count_encoding != HEADER_COUNT || header->frames_encoding != HEADER_FRAMES || header->count == 0)
        return NULL;
    int64_t offset = (int64_t)(code - (uintptr_t)header);
    size_t low = 0, high = header->count; /* the last that begins at or below it is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (header->table[middle].code <= offset)
            low = middle;
        else
            high = middle;
    }
    return header->table[low].code <= offset ? (const uint8_t *)header + header->table[low].information : NULL;
}

/* ---- what it says ---- */

enum rule { RULE_SAME, RULE_SAVED, RULE_UNKNOWN };

struct saved {
    enum rule rule;
    int64_t offset; /* from the frame address, if saved */
};

/* The caller's registers, at one address of a function. The frame address is what its stack pointer was. */
struct row {
    uint64_t address_register;
    int64_t address_offset;
    bool address_known;
    struct saved base, link;
};

struct common {
    uint64_t code_unit;
    int64_t data_unit;
    uint8_t encoding;
    bool augmented;
    struct row row; /* after its own instructions */
};

static void row_save(struct row *row, uint64_t number, enum rule rule, int64_t offset)
{
    if (number == REGISTER_BASE)
        row->base = (struct saved){rule, offset};
    else if (number == REGISTER_LINK)
        row->link = (struct saved){rule, offset};
}

static void row_restore(struct row *row, uint64_t number, const struct row *initial)
{
    if (number == REGISTER_BASE)
        row->base = initial->base;
    else if (number == REGISTER_LINK)
        row->link = initial->link;
}

static void skip(struct reader *reader)
{
    size_t bytes = read_unsigned(reader);
    reader->at += min_size(bytes, (size_t)(reader->end - reader->at));
}

/* Runs instructions until the address of the row is beyond `code`; begins at `address`. False if one is unknown. */
LAST static bool run(struct reader *reader, const struct common *common, uintptr_t address, uintptr_t code, struct row *row)
{
    enum { REMEMBERED = 8 };
    struct row remembered[REMEMBERED];
    unsigned depth = 0;
    uint64_t number;
    while (reader->at < reader->end && address <= code) {
        uint8_t instruction = *reader->at++, operand = instruction & 0x3f;
        switch (instruction & 0xc0) {
        case 0x40: address += operand * common->code_unit; continue;
        case 0x80: row_save(row, operand, RULE_SAVED, (int64_t)read_unsigned(reader) * common->data_unit); continue;
        case 0xc0: row_restore(row, operand, &common->row); continue;
        }
        switch (instruction) {
        case 0x00: break; /* nop */
        case 0x01: address = read_encoded(reader, common->encoding); break;
        case 0x02: address += read_bytes(reader, 1) * common->code_unit; break;
        case 0x03: address += read_bytes(reader, 2) * common->code_unit; break;
        case 0x04: address += read_bytes(reader, 4) * common->code_unit; break;
        case 0x05: /* offset_extended */
            number = read_unsigned(reader);
            row_save(row, number, RULE_SAVED, (int64_t)read_unsigned(reader) * common->data_unit);
            break;
        case 0x06: row_restore(row, read_unsigned(reader), &common->row); break;
        case 0x07: row_save(row, read_unsigned(reader), RULE_UNKNOWN, 0); break;
        case 0x08: row_save(row, read_unsigned(reader), RULE_SAME, 0); break;
        case 0x09: /* in another register */
            row_save(row, read_unsigned(reader), RULE_UNKNOWN, 0);
            read_unsigned(reader);
            break;
        case 0x0a: /* remember_state */
            if (depth == REMEMBERED)
                return false;
            remembered[depth++] = *row;
            break;
        case 0x0b: /* restore_state */
            if (depth == 0)
                return false;
            *row = remembered[--depth];
            break;
        case 0x0c: /* def_cfa */
            row->address_register = read_unsigned(reader);
            row->address_offset = (int64_t)read_unsigned(reader);
            row->address_known = true;
            break;
        case 0x0d: row->address_register = read_unsigned(reader); break;
        case 0x0e: row->address_offset = (int64_t)read_unsigned(reader); break;
        case 0x0f: /* def_cfa_expression */
            skip(reader);
            row->address_known = false;
            break;
        case 0x10: /* expression, val_expression */
        case 0x16:
            row_save(row, read_unsigned(reader), RULE_UNKNOWN, 0);
            skip(reader);
            break;
        case 0x11: /* offset_extended_sf */
            number = read_unsigned(reader);
            row_save(row, number, RULE_SAVED, read_signed(reader) * common->data_unit);
            break;
        case 0x12: /* def_cfa_sf */
            row->address_register = read_unsigned(reader);
            row->address_offset = read_signed(reader) * common->data_unit;
            row->address_known = true;
            break;
        case 0x13: row->address_offset = read_signed(reader) * common->data_unit; break;
        case 0x2d: break; /* AArch64: return addresses are signed from here on */
        case 0x2e: read_unsigned(reader); break; /* GNU_args_size */
        default: return false;
        }
    }
    return true;
}

/* Reads the common entry. False if there is something in it that we do not know, or the frame is a signal's. */
static bool common_read(const uint8_t *entry, struct common *common)
{
    struct reader reader = {entry, entry + 4};
    size_t length = read_bytes(&reader, 4);
    reader.end = reader.at + length;
    read_bytes(&reader, 4); /* its mark */
    uint8_t version = (uint8_t)read_bytes(&reader, 1);
    const char *augmentation = (const char *)reader.at;
    reader.at += strlen(augmentation) + 1;
    *common = (struct common){.code_unit = read_unsigned(&reader), .data_unit = read_signed(&reader)};
    uint64_t link = version == 1 ? read_bytes(&reader, 1) : read_unsigned(&reader);
    common->augmented = *augmentation == 'z';
    if (link != REGISTER_LINK || (*augmentation != 'z' && *augmentation != '\0'))
        return false;
    if (common->augmented) {
        size_t bytes = read_unsigned(&reader);
        const uint8_t *instructions = reader.at + bytes;
        while (*++augmentation != '\0')
            switch (*augmentation) {
            case 'R': common->encoding = (uint8_t)read_bytes(&reader, 1); break;
            case 'L': read_bytes(&reader, 1); break;
            case 'P': read_encoded(&reader, (uint8_t)read_bytes(&reader, 1)); break;
            case 'B': break; /* AArch64: signed with the other key */
            default: return false;
            }
        reader.at = instructions;
    }
    return run(&reader, common, 0, UINTPTR_MAX, &common->row);
}

/* The row for `code`. */
static bool row_find(uintptr_t code, struct row *row)
{
    const uint8_t *entry = entry_find(code);
    if (!entry)
        return false;
    struct reader reader = {entry, entry + 4};
    size_t length = read_bytes(&reader, 4);
    reader.end = reader.at + length;
    const uint8_t *place = reader.at;
    struct common common;
    if (length == 0 || length == UINT32_MAX || !common_read(place - read_bytes(&reader, 4), &common))
        return false;
    uintptr_t start = read_encoded(&reader, common.encoding);
    size_t size = read_encoded(&reader, common.encoding & FORMAT_MASK);
    if (code - start >= size)
        return false;
    if (common.augmented)
        skip(&reader);
    *row = common.row;
    return run(&reader, &common, start, code, row);
}

/* ---- a step ---- */

static bool saved_read(struct saved saved, uintptr_t address, uintptr_t *value)
{
    if (saved.rule == RULE_SAVED)
        memcpy(value, (const void *)(address + (uintptr_t)saved.offset), sizeof *value);
    return saved.rule != RULE_UNKNOWN;
}

LAST static bool unwind_step(struct frame *frame)
{
    enum { FRAME_MOST = 16 << 20 }; /* no frame is so large: a base register that holds something else */
    struct row row;
    if (frame->code == 0 || !row_find(frame->code - !frame->exact, &row) || !row.address_known)
        return false;
    uintptr_t address = (uintptr_t)row.address_offset;
    if (row.address_register == REGISTER_STACK)
        address += frame->stack;
    else if (row.address_register == REGISTER_BASE)
        address += frame->base;
    else
        return false;
    if (address % sizeof address != 0 || address - frame->stack > FRAME_MOST ||
        (address == frame->stack && !frame->exact))
        return false;
    if (!saved_read(row.link, address, &frame->link))
        return false;
    if (!saved_read(row.base, address, &frame->base))
        frame->base = 1; /* no frame address is odd */
    frame->code = frame->link;
    frame->stack = address;
    frame->exact = false;
    return frame->code != 0;
}
