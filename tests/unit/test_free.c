/* Freeing what values own: once, whichever datum is the first that is not empty. A leak fails the test (check.h). */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(free, .timeout = 60);

static bool is_zero(const void *value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)value)[i])
            return false;
    return true;
}

CHECK(free, values__many_at_once__are_freed_and_zeroed)
{
    static const char *const hex[] = {"95 a1 61 c4 00 c0 92 01 02 a0", "95 a0 c4 01 62 c0 92 01 02 a0",
                                      "95 a0 c4 00 93 01 02 03 92 01 02 a1 7a"};
    owner values[4];
    mp__fault fault;
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(decode_hex(&mp__type_owner, hex[i], &values[i], &fault), MP_OK);
    memset(&values[3], 0, sizeof values[3]); /* of an item that failed */
    mp_free(owner, values, 4);
    cr_assert(is_zero(values, sizeof values));
    mp_free(owner, values, 4);
}

CHECK(free, value__whose_only_datum_is_the_last_of_a_fixed_array__is_found)
{
    arrays value;
    mp__buffer out = {0};
    mp__fault fault;
    arrays source = {.texts = {{"", 0}, {"", 0}, {"third", 5}}};
    cr_assert_eq(mp__encode(&out, &mp__type_arrays, &source, NULL, &fault), MP_OK);
    mp__frame frame = frame_of(out.data, out.size);
    cr_assert_eq(mp__decode_result(&mp__type_arrays, &frame, &value, &fault), MP_OK);
    cr_assert_str_eq(value.texts[2].data, "third");
    mp_free(arrays, &value, 1);
    cr_assert(is_zero(&value, sizeof value));
    mp__buffer_fini(&out);
}

CHECK(free, value__whose_only_datum_is_in_a_nested_struct__is_found)
{
    float number = 1;
    nested source = {.inside = {.f = {&number, 1}}}, value;
    mp__buffer out = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, &mp__type_nested, &source, NULL, &fault), MP_OK);
    mp__frame frame = frame_of(out.data, out.size);
    cr_assert_eq(mp__decode_result(&mp__type_nested, &frame, &value, &fault), MP_OK);
    cr_assert_eq(value.inside.f.count, 1);
    mp_free(nested, &value, 1);
    mp__buffer_fini(&out);
}

CHECK(free, values__that_own_nothing__are_zeroed)
{
    double three[3] = {1, 2, 3};
    mp_free(double, three, 3);
    cr_assert(is_zero(three, sizeof three));
    mp_free(mp_none, (mp_none *)NULL, 0);
    mp_free(mp_none, (mp_none *)NULL, 7);
    mp_free(mp_str, (mp_str *)NULL, 0);
}

CHECK(free, block__a_ring_of_any_length__is_freed_once)
{
    mp__block *blocks[3];
    for (size_t n = 1; n <= 3; n++) {
        for (size_t i = 0; i < n; i++)
            blocks[i] = malloc(sizeof(mp__block));
        for (size_t i = 0; i < n; i++)
            *blocks[i] = (mp__block){.next = blocks[(i + 1) % n]};
        mp__block_free(blocks[n / 2]);
    }
    mp__block_free(NULL);
}
