/* libFuzzer on the decoder. Input: a byte that picks a type, a byte of flags (bit 0: the payload is in a block of its own, as
 * the reader makes it; bit 1: decode as an input), a 16-bit size of the control part (more than there is: all), the payload.
 *
 * Oracle: no finding of the sanitizers, nothing leaks, a refused value is zero; and what is accepted can be encoded, and
 * from there on is stable: encode, decode, encode gives the same bytes, and the same value. */
#include "tests/unit/values.h"

static void must(bool good)
{
    if (!good)
        abort();
}

/* The payload in a block like the reader's; `frame` points into it. */
static mp__block *put_in_block(mp__frame *frame)
{
    mp__block *block = mp__block_allocate(MP__BLOB_ALIGN + frame->size + 1, MP__BLOB_ALIGN);
    must(block != NULL);
    memcpy(mp__block_payload(block), frame->data, frame->size);
    frame->data = mp__block_payload(block);
    frame->block = block;
    return block;
}

static void must_be_zero(const mp_type *type, const any_value *value)
{
    for (size_t i = 0; i < type->size; i++)
        must(value->bytes[i] == 0);
}

/* An mp_any that looks like a reference to a blob is written in another form. */
static bool has_any(const mp_type *type)
{
    bool found = type->kind == MP__ANY || (type->kind == MP__SPAN_OF && has_any(type->element));
    for (size_t i = 0; type->kind == MP__STRUCT && i < type->count && !found; i++)
        found = has_any(type->fields[i].type);
    return found;
}

static void check_stable(const mp_type *type, const any_value *value)
{
    mp__buffer first = {0}, second = {0};
    mp__fault fault;
    any_value again;
    must(is_well_placed(type, value));
    must(mp__encode(&first, type, value, NULL, &fault) == MP_OK);
    mp__frame frame = frame_of(first.data, first.size);
    must(mp__decode_result(type, &frame, &again, &fault) == MP_OK);
    must(has_any(type) || same_value(type, value, &again));
    must(mp__encode(&second, type, &again, NULL, &fault) == MP_OK);
    must(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    mp_free_values(type, &again, 1);
    mp__buffer_fini(&first);
    mp__buffer_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    const mp_type *type = all_types[data[0] % ALL_TYPES];
    size_t control = (size_t)data[2] | (size_t)data[3] << 8;
    mp__frame frame = frame_of(data + 4, size - 4);
    frame.control = control < frame.size ? control : frame.size;
    mp__block *block = data[1] & 1 ? put_in_block(&frame) : NULL;
    mp__buffer scratch = {0};
    mp__fault fault;
    any_value value;
    memset(&value, 0xa5, sizeof value);
    bool as_input = data[1] & 2;
    mp_status status = as_input ? mp__decode_input(type, &frame, &value, &scratch, &fault)
                                : mp__decode_result(type, &frame, &value, &fault);
    must(status == fault.status);
    if (status == MP_OK)
        check_stable(type, &value);
    else
        must_be_zero(type, &value);
    if (status == MP_OK && !as_input)
        mp_free_values(type, &value, 1);
    if (frame.block)
        mp__block_free(block);
    mp__buffer_fini(&scratch);
    return 0;
}
