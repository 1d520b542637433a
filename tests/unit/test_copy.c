/* Deep copies: the same value, in memory of its own, laid out as decoded results are. A leak fails the test (check.h). */
#include "serial/copy.h"
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(copy, .timeout = 60);

/* The msgpack of a value: what two values that are the same have in common, whatever lies in their padding. */
static mp__buffer bytes_of(const mp_type *type, const void *value)
{
    mp__buffer out = {0};
    mp__fault fault;
    cr_assert_eq(mp__encode(&out, type, value, NULL, &fault), MP_OK, "%s: %s", type->name, fault.message);
    return out;
}

CHECK(copy, values__of_every_type__encode_to_the_same_bytes_when_the_original_is_gone)
{
    static arena memory;
    chance c = {.state = 20240611, .most = 40, .large = true, .arena = &memory};
    for (size_t round = 0; round < 60 * ALL_TYPES; round++) {
        const mp_type *type = all_types[round % ALL_TYPES];
        any_value from, to;
        mp__fault fault;
        uint64_t bytes = 77;
        random_value(&c, type, &from);
        mp__buffer before = bytes_of(type, &from);
        memset(&to, 0xaa, sizeof to);
        cr_assert_eq(mp__copy(type, &from, &to, &bytes, &fault), MP_OK, "%s: %s", type->name, fault.message);
        cr_assert(is_well_placed(type, &to), "%s", type->name);
        for (size_t i = 0; i < memory.count; i++)
            memset(memory.items[i], 0xff, 64); /* arena_take gives no less */
        arena_empty(&memory);
        memset(&from, 0xff, sizeof from);
        mp__buffer after = bytes_of(type, &to);
        cr_assert(before.size == after.size && !memcmp(before.data, after.data, after.size), "%s", type->name);
        cr_assert(mp__type_owns(type) || bytes == 0, "%s", type->name);
        mp_free_values(type, &to, 1);
        mp__buffer_fini(&before);
        mp__buffer_fini(&after);
    }
}

CHECK(copy, value__with_texts_in_a_span_of_structs__has_its_own_memory)
{
    char first[] = "first", second[] = "second";
    owner owners[2] = {{.text = {first, 5}, .any = {"\xc0", 1}, .at = {1, 2}}, {.any = {"\xc0", 1}, .last = {second, 6}}};
    nested from = {.owners = {owners, 2}}, to;
    mp__fault fault;
    uint64_t bytes = 0;
    cr_assert_eq(mp__copy(&mp__type_nested, &from, &to, &bytes, &fault), MP_OK);
    cr_assert_geq(bytes, sizeof owners + 5 + 6 + 2);
    memset(owners, 0xff, sizeof owners);
    memset(first, 'x', sizeof first);
    memset(second, 'x', sizeof second);
    cr_assert(is_well_placed(&mp__type_nested, &to));
    cr_assert_str_eq(to.owners.items[0].text.data, "first");
    cr_assert_str_eq(to.owners.items[1].last.data, "second");
    cr_assert_eq(to.owners.items[0].at.y, 2);
    cr_assert_eq(to.owners.items[1].text.size, 0);
    mp_free(nested, &to, 1);
    cr_assert_null(to.owners.items);
}

CHECK(copy, value__of_fixed_arrays__has_every_element)
{
    arrays from = {.name = "12345678", .i8 = {1, 2, 3}, .b = {[8] = true}, .unnamed = 5, .s = {{.i32 = 7}, {.d = 0.5}}}, to;
    from.texts[2] = mp_str_of("third");
    mp__fault fault;
    memset(&to, 0xff, sizeof to);
    cr_assert_eq(mp__copy(&mp__type_arrays, &from, &to, NULL, &fault), MP_OK);
    cr_assert(same_value(&mp__type_arrays, &from, &to) && is_well_placed(&mp__type_arrays, &to));
    cr_assert_eq(to.unnamed, 0, "what is not named does not travel");
    cr_assert_str_eq(to.texts[2].data, "third");
    mp_free(arrays, &to, 1);
}

CHECK(copy, values__that_point_to_nothing__take_no_memory)
{
    nested empty = {.texts = {(mp_str[1]){{0}}, 0}}, to;
    scalars numbers_only = {.i32 = -5, .d = 1e9}, other;
    mp_str text = {NULL, 0}, copied;
    mp__fault fault;
    uint64_t bytes = 1;
    fail_allocation(0); /* none is needed */
    cr_assert_eq(mp__copy(&mp__type_nested, &empty, &to, &bytes, &fault), MP_OK);
    cr_assert_eq(bytes, 0);
    cr_assert_eq(mp__copy(&mp__type_scalars, &numbers_only, &other, &bytes, &fault), MP_OK);
    cr_assert_eq(mp__copy(&mp__type_mp_str, &text, &copied, &bytes, &fault), MP_OK);
    cr_assert_eq(mp__copy(&mp__type_mp_none, NULL, &(mp_none){1}, &bytes, &fault), MP_OK);
    fail_no_allocation();
    cr_assert_eq(bytes, 0);
    cr_assert_null(to.texts.items);
    cr_assert(other.i32 == -5 && other.d == 1e9);
    cr_assert_str_eq(copied.data, "");
}

CHECK(copy, elements__that_are_over_aligned__stay_so)
{
    aligned items[3] = {{.lanes = {1}, .text = mp_str_of("a")}, {.text = mp_str_of("bc")}, {.lanes = {[7] = 8}}};
    aligned_span from = {{items, 3}}, to;
    mp__fault fault;
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(mp__copy(&mp__type_aligned_span, &from, &to, NULL, &fault), MP_OK);
        cr_assert_eq((uintptr_t)to.all.items % 64, 0);
        cr_assert(same_value(&mp__type_aligned_span, &from, &to) && is_well_placed(&mp__type_aligned_span, &to));
        mp_free(aligned_span, &to, 1);
    }
}

CHECK(copy, addresses__are_copied_as_they_are)
{
    int target[5];
    mp_ptr many[2] = {{&target[3]}, {NULL}}, copied;
    addresses items[1] = {{.one = {&target[0]}, .three = {[1] = {&target[1]}}, .many = {many, 2}}};
    holder from = {.name = mp_str_of("holder"), .all = {items, 1}}, to;
    mp__fault fault;
    uint64_t bytes = 1;
    cr_assert_eq(mp__copy(&mp__type_mp_ptr, &many[0], &copied, &bytes, &fault), MP_OK);
    cr_assert(copied.address == &target[3] && bytes == 0);
    cr_assert_eq(mp__copy(&mp__type_holder, &from, &to, NULL, &fault), MP_OK);
    const addresses *got = to.all.items;
    cr_assert(got != items && got->many.items != many);
    cr_assert(got->one.address == &target[0] && got->three[1].address == &target[1] && got->three[2].address == NULL);
    cr_assert(got->many.count == 2 && got->many.items[0].address == &target[3]);
    mp_free(holder, &to, 1);
}

CHECK(copy, texts__that_are_no_utf8__are_copied)
{
    mp_str from = {"a\xff\0b", 4}, to;
    mp__fault fault;
    cr_assert_eq(mp__copy(&mp__type_mp_str, &from, &to, NULL, &fault), MP_OK);
    cr_assert(to.size == 4 && !memcmp(to.data, "a\xff\0b", 5));
    mp_free(mp_str, &to, 1);
}

CHECK(copy, allocation__that_fails__leaves_zero)
{
    aligned items[1] = {{.text = mp_str_of("a")}};
    aligned_span over_aligned = {{items, 1}}, copied;
    mp_str text = mp_str_of("text"), to = text;
    mp__fault fault;
    uint64_t bytes = 1;
    fail_allocation(0);
    cr_assert_eq(mp__copy(&mp__type_mp_str, &text, &to, &bytes, &fault), MP_ENOMEM);
    cr_assert_eq(mp__copy(&mp__type_aligned_span, &over_aligned, &copied, NULL, &fault), MP_ENOMEM);
    fail_no_allocation();
    cr_assert(to.data == NULL && to.size == 0 && bytes == 0);
    cr_assert(copied.all.items == NULL && copied.all.count == 0);
}

static bool refused(const mp_type *type, const void *from, mp_status status, const char *path, const char *message)
{
    any_value to;
    mp__fault fault;
    uint64_t bytes = 1;
    memset(&to, 0xff, sizeof to);
    mp_status got = mp__copy(type, from, &to, &bytes, &fault);
    bool zero = bytes == 0;
    for (size_t i = 0; i < type->size; i++)
        zero = zero && to.bytes[i] == 0;
    if (strcmp(fault.path, path) != 0 || strcmp(fault.message, message) != 0)
        cr_log_error("%s: %s: %s", mp_status_name(got), fault.path, fault.message);
    return got == status && zero && !strcmp(fault.path, path) && !strcmp(fault.message, message);
}

CHECK(copy, null__with_a_count__is_refused_by_name)
{
    mp_str texts[2] = {{"a", 1}, {NULL, 3}};
    owner owners[2] = {{.text = {"a", 1}}, {.bytes = {NULL, 2}}};
    nested by_count = {.inside = {.d = {NULL, 4}}}, by_size = {.owners = {owners, 2}}, in_span = {.texts = {texts, 2}};
    const mp_type *type = &mp__type_nested;
    cr_assert(refused(type, &by_count, MP_EINVAL, "inside.d", "NULL with a count of 4"));
    cr_assert(refused(type, &by_size, MP_EINVAL, "owners[1].bytes", "NULL with a size of 2"));
    cr_assert(refused(type, &in_span, MP_EINVAL, "texts[1]", "NULL with a size of 3"));
    arrays fixed = {.texts = {{NULL, 0}, {NULL, 0}, {NULL, 1}}};
    cr_assert(refused(&mp__type_arrays, &fixed, MP_EINVAL, "texts[2]", "NULL with a size of 1"));
}

CHECK(copy, sizes__that_overflow_or_are_over_the_limit__are_refused)
{
    const char *over = "the value would take more than 1099511627776 bytes of memory";
    double number = 1;
    numbers wraps = {.d = {&number, SIZE_MAX / 8 + 2}}, large = {.d = {&number, MP_ITEM_SIZE_MAX / 8}};
    cr_assert(refused(&mp__type_numbers, &wraps, MP_ELIMIT, "d", "a count of 2305843009213693953 cannot be"));
    cr_assert(refused(&mp__type_numbers, &large, MP_ELIMIT, "d", over));
    mp_bytes bytes = {&number, SIZE_MAX};
    cr_assert(refused(&mp__type_mp_bytes, &bytes, MP_ELIMIT, "", "a size of 18446744073709551615 cannot be"));
    bytes.size = SIZE_MAX - 1;
    cr_assert(refused(&mp__type_mp_bytes, &bytes, MP_ELIMIT, "", over));
    bytes.size = MP_ITEM_SIZE_MAX;
    cr_assert(refused(&mp__type_mp_bytes, &bytes, MP_ELIMIT, "", over));
    mp_bytes halves[3] = {{&number, MP_ITEM_SIZE_MAX / 2 - 4096}, {&number, MP_ITEM_SIZE_MAX / 2}, {&number, 4096}};
    mp_span_mp_bytes together = {halves, 3};
    cr_assert(refused(&mp__type_mp_span_mp_bytes, &together, MP_ELIMIT, "[2]", over));
}
