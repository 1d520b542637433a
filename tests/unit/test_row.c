/* Rows of numbers: written, opened, read. The bytes are FORMAT.md's. */
#include "serial/row.h"
#include "tests/lib/check.h"
#include "tests/unit/values.h"
#include <string.h>

TestSuite(row, .timeout = 60);

typedef struct spread {
    int16_t number, between;
} spread;

enum { KIND = 5 };

/* The frame of what was written; `frame` is not opened yet. */
static mp__frame frame_of_row(const mp__buffer *out)
{
    uint32_t header;
    memcpy(&header, out->data, sizeof header);
    cr_assert_eq(header & 15, KIND);
    cr_assert_eq(MP__FRAME_SHORT + (header >> 4), out->size);
    return (mp__frame){.kind = KIND, .size = header >> 4, .control = header >> 4, .data = out->data + MP__FRAME_SHORT};
}

CHECK(row, written__is_its_head_and_the_values_as_they_stand_in_memory)
{
    static const uint8_t wanted[] = {0xa5, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0xfe, 0xff, 0x2c, 1};
    spread values[] = {{1, 7}, {-2, 7}, {300, 7}};
    mp__buffer out = {0};
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_int16_t, &values->number, sizeof *values, 3), 3);
    cr_assert_eq(out.size, sizeof wanted);
    cr_assert_arr_eq(out.data, wanted, sizeof wanted);
    mp__buffer_fini(&out);
}

/* Of every size, from places and into places that stand side by side or apart. */
CHECK(row, of_each_number__comes_back_as_it_was)
{
    static const mp_type *const types[] = {&mp__type_int8_t,   &mp__type_uint8_t, &mp__type_int16_t,
                                           &mp__type_uint16_t, &mp__type_int32_t, &mp__type_float,
                                           &mp__type_int64_t,  &mp__type_double,  &mp__type_char};
    enum { COUNT = 100, APART = 24 };
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int spread_in = 0; spread_in < 2; spread_in++)
            for (int spread_out = 0; spread_out < 2; spread_out++) {
                uint8_t in[COUNT * APART], back[COUNT * APART];
                size_t size = types[t]->size, step_in = spread_in ? APART : size, step_out = spread_out ? APART : size;
                mp__buffer out = {0};
                for (size_t i = 0; i < sizeof in; i++)
                    in[i] = (uint8_t)(i * 37 + 11);
                memset(back, 0xee, sizeof back);
                cr_assert_eq(mp__row_write(&out, KIND, types[t], in, step_in, COUNT), COUNT);
                mp__frame frame = frame_of_row(&out);
                cr_assert_eq(mp__row_open(&frame), COUNT);
                cr_assert_eq(mp__row_read(types[t], &frame, COUNT, back, step_out), COUNT);
                for (size_t i = 0; i < COUNT; i++) {
                    cr_assert_eq(memcmp(in + i * step_in, back + i * step_out, size), 0);
                    bool kept = !spread_out || back[i * APART + size] == 0xee;
                    cr_assert(kept, "nothing is written between them");
                }
                cr_assert_eq(frame.data + size, out.data + out.size, "it is the last one");
                mp__buffer_fini(&out);
            }
}

CHECK(row, longer_than_a_row_may_be__is_cut)
{
    static int64_t values[MP__ROW_MAX + 10];
    mp__buffer out = {0};
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_int64_t, values, sizeof *values, MP__ROW_MAX + 10), MP__ROW_MAX);
    mp__frame frame = frame_of_row(&out);
    cr_assert_eq(mp__row_open(&frame), MP__ROW_MAX);
    mp__buffer_fini(&out);
}

CHECK(row, read_in_parts__goes_on_where_it_was)
{
    int32_t values[] = {1, 2, 3, 4, 5}, back[5] = {0};
    mp__buffer out = {0};
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_int32_t, values, sizeof *values, 5), 5);
    mp__frame frame = frame_of_row(&out);
    cr_assert_eq(mp__row_open(&frame), 5);
    cr_assert_eq(mp__row_read(&mp__type_int32_t, &frame, 2, back, sizeof *back), 2);
    mp__frame_follow(&frame);
    cr_assert_eq(mp__row_read(&mp__type_int32_t, &frame, 1, back + 2, sizeof *back), 1);
    mp__frame_follow(&frame);
    cr_assert_eq(mp__row_read(&mp__type_int32_t, &frame, 2, back + 3, sizeof *back), 2);
    cr_assert_arr_eq(back, values, sizeof values);
    mp__buffer_fini(&out);
}

CHECK(row, of_bools__ends_before_one_that_is_none)
{
    unsigned char bools[] = {1, 0, 2, 1}, back[4] = {9, 9, 9, 9};
    mp__buffer out = {0};
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_bool, bools + 2, 1, 2), 0, "the first is none");
    cr_assert_eq(out.size, 0);
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_bool, bools, 1, 4), 2);
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_uint8_t, bools, 1, 4), 4, "behind it");
    mp__frame frame = {.kind = KIND, .size = 8, .control = 8, .data = out.data + MP__ROW_HEAD + 2 + MP__FRAME_SHORT};
    cr_assert_eq(mp__row_open(&frame), 4, "what a worker may send");
    cr_assert_eq(mp__row_read(&mp__type_bool, &frame, 4, back, 1), 2);
    mp__frame_follow(&frame);
    cr_assert_eq(mp__row_read(&mp__type_bool, &frame, 2, back + 2, 1), 0);
    cr_assert_arr_eq(back, "\1\0\x9\x9", 4);
    mp__buffer_fini(&out);
}

CHECK(row, of_nothing__is_not_looked_at)
{
    mp_none nothing[3] = {{7}, {7}, {7}};
    mp__buffer out = {0};
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_mp_none, nothing, 0, 3), 3);
    cr_assert_arr_eq(out.data + MP__ROW_HEAD, "\0\0\0", 3);
    memset(out.data + MP__ROW_HEAD, 5, 3);
    mp__frame frame = frame_of_row(&out);
    cr_assert_eq(mp__row_open(&frame), 3);
    cr_assert_eq(mp__row_read(&mp__type_mp_none, &frame, 3, nothing, sizeof *nothing), 3);
    cr_assert(nothing[0].mp__unused == 0 && nothing[2].mp__unused == 0);
    mp__buffer_fini(&out);
}

CHECK(row, of_what_is_no_number__or_without_memory__is_left_to_others)
{
    mp_str text = mp_str_of("text");
    int64_t number = 1;
    mp__buffer out = {0};
    cr_assert_eq(mp__row_write(&out, KIND, &mp__type_mp_str, &text, sizeof text, 1), 0);
    fail_allocation(0);
    size_t written = mp__row_write(&out, KIND, &mp__type_int64_t, &number, sizeof number, 1);
    fail_no_allocation();
    cr_assert(written == 0 && out.size == 0);
    mp__buffer_fini(&out);
}

CHECK(row, that_makes_no_sense__is_none)
{
    static const struct {
        uint32_t value_size;
        size_t size;
    } cases[] = {{8, 4}, {8, 11}, {8, 13}, {0, 12}, {0, 4}, {9, 12}, {UINT32_MAX, 12}, {1, 4 + MP__ROW_MAX + 1},
                 {1, 3}, {1, 0}};
    static uint8_t bytes[4 + MP__ROW_MAX + 1];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bytes, &cases[i].value_size, 4);
        mp__frame frame = {.size = cases[i].size, .control = cases[i].size, .data = bytes};
        cr_assert_eq(mp__row_open(&frame), 0, "%zu", i);
    }
    memcpy(bytes, &(uint32_t){8}, 4);
    mp__frame frame = {.size = 12, .control = 12, .data = bytes};
    double value;
    float other;
    cr_assert_eq(mp__row_open(&frame), 1);
    cr_assert_eq(mp__row_read(&mp__type_float, &frame, 1, &other, sizeof other), 0, "of another size");
    cr_assert_eq(mp__row_read(&mp__type_mp_str, &frame, 1, &value, sizeof value), 0);
    cr_assert_eq(mp__row_read(&mp__type_double, &frame, 1, &value, sizeof value), 1);
}
