/* Type descriptions: what the macros make, and what the check refuses. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(types, .timeout = 60);

static bool refused(const mp_type *type, mp_status status, const char *text)
{
    mp__fault fault = {0};
    char said[400] = "";
    mp_status got = mp__type_check(type, &fault);
    if (got != MP_OK)
        mp__fault_text(&fault, said, sizeof said);
    if (got != status || strcmp(said, text) != 0)
        cr_log_error("%s: %s", mp_status_name(got), said);
    return got == status && !strcmp(said, text);
}

CHECK(types, macro__each_field__gets_its_builtin_type)
{
    static const mp_type *const expected[] = {&mp__type_char,
                                              &mp__type_int8_t,
                                              &mp__type_short,
                                              &mp__type_int,
                                              &mp__type_long,
                                              &mp__type_long_long,
                                              &mp__type_uint8_t,
                                              &mp__type_uint16_t,
                                              &mp__type_unsigned,
                                              &mp__type_size_t,
                                              &mp__type_unsigned_long_long,
                                              &mp__type_float,
                                              &mp__type_double,
                                              &mp__type_bool};
    cr_assert_eq(mp__type_scalars.count, 14);
    for (size_t i = 0; i < 14; i++) {
        const mp_type *type = mp__type_scalars.fields[i].type;
        cr_assert(type->kind == expected[i]->kind && type->size == expected[i]->size, "%s",
                  mp__type_scalars.fields[i].name);
        cr_assert_eq(mp__type_scalars.fields[i].count, 0);
    }
    cr_assert_eq(mp__type_arrays.fields[0].count, 8);
    cr_assert_eq(mp__type_arrays.fields[3].count, 1, "an array of one is an array");
    cr_assert_eq(mp__type_arrays.fields[7].type, &mp__type_scalars);
    cr_assert_eq(mp__type_nested.fields[0].type, &mp__type_mp_span_point);
    cr_assert_eq(mp__type_nested.fields[2].type, &mp__type_mp_span_mp_str);
    cr_assert_str_eq(mp__type_nested.fields[1].name, "owners");
    cr_assert_eq(mp__type_point.align, _Alignof(point));
}

CHECK(types, words__for_messages__are_these)
{
    cr_assert_str_eq(mp__type_word(&mp__type_long), "int64");
    cr_assert_str_eq(mp__type_word(&mp__type_unsigned), "uint32");
    cr_assert_str_eq(mp__type_word(&mp__type_char), "char");
    cr_assert_str_eq(mp__type_word(&mp__type_float), "float");
    cr_assert_str_eq(mp__type_word(&mp__type_double), "double");
    cr_assert_str_eq(mp__type_word(&mp__type_bool), "bool");
    cr_assert_str_eq(mp__type_word(&mp__type_mp_str), "str");
    cr_assert_str_eq(mp__type_word(&mp__type_mp_bytes), "bytes");
    cr_assert_str_eq(mp__type_word(&mp__type_mp_any), "any");
    cr_assert_str_eq(mp__type_word(&mp__type_mp_none), "none");
    cr_assert_str_eq(mp__type_word(&mp__type_mp_ptr), "ptr");
    cr_assert_str_eq(mp__type_word(&mp__type_point), "point");
    cr_assert_str_eq(mp__type_word(&mp__type_mp_span_point), "span of point");
}

CHECK(types, owns__is_true_for_what_can_point_to_memory)
{
    cr_assert_not(mp__type_owns(&mp__type_double));
    cr_assert_not(mp__type_owns(&mp__type_mp_none));
    cr_assert_not(mp__type_owns(&mp__type_scalars));
    cr_assert_not(mp__type_owns(&mp__type_point));
    cr_assert(mp__type_owns(&mp__type_mp_str));
    cr_assert(mp__type_owns(&mp__type_mp_any));
    cr_assert(mp__type_owns(&mp__type_mp_span_point));
    cr_assert(mp__type_owns(&mp__type_arrays));
    cr_assert(mp__type_owns(&mp__type_tree));
}

CHECK(types, has_pointer__is_true_wherever_there_is_one)
{
    cr_assert(mp__type_has_pointer(&mp__type_mp_ptr));
    cr_assert(mp__type_has_pointer(&mp__type_mp_span_mp_ptr));
    cr_assert(mp__type_has_pointer(&mp__type_addresses));
    cr_assert(mp__type_has_pointer(&mp__type_mp_span_addresses));
    cr_assert(mp__type_has_pointer(&mp__type_holder));
    for (size_t i = 0; i < ALL_TYPES; i++)
        cr_assert_not(mp__type_has_pointer(all_types[i]), "%s", all_types[i]->name);
}

CHECK(types, ptr__owns_nothing_but_a_span_of_it_does)
{
    mp__fault fault;
    cr_assert_not(mp__type_owns(&mp__type_mp_ptr));
    cr_assert_eq(mp__type_check(&mp__type_holder, &fault), MP_OK);
    cr_assert(mp__type_owns(&mp__type_mp_span_mp_ptr));
    cr_assert_eq(mp__type_addresses.fields[1].count, 3);
    cr_assert_eq(mp__type_addresses.fields[2].type, &mp__type_mp_span_mp_ptr);
}

/* A good type that each test below makes bad in one way. */
typedef struct {
    int32_t a, b;
    double c;
} victim;
static const mp_field good_fields[] = {
    {"a", 0, 0, &mp__type_int32_t}, {"b", 4, 0, &mp__type_int32_t}, {"c", 8, 0, &mp__type_double}};
static const mp_type good = {sizeof(mp_type), MP__STRUCT, sizeof(victim), _Alignof(victim), "victim", 3, good_fields, NULL};

CHECK(types, heads__that_are_not_whole__are_refused)
{
    mp_type bad = good;
    cr_assert(refused(&good, MP_OK, ""));
    cr_assert(refused(NULL, MP_EINVAL, "a raw pointer has no length: use MP_SPAN"));
    bad.layout = 8;
    cr_assert(refused(&bad, MP_EINVAL, "the type was compiled with the headers of another version of millpond than 0.1.0"));
    bad = good, bad.name = NULL;
    cr_assert(refused(&bad, MP_EINVAL, "the type has no name: describe it with MP_TYPE"));
    bad = good, bad.name = "";
    cr_assert(refused(&bad, MP_EINVAL, "the type has no name: describe it with MP_TYPE"));
    bad = good, bad.kind = 0;
    cr_assert(refused(&bad, MP_EINVAL, "victim is of an unknown kind: describe it with MP_TYPE"));
    bad = good, bad.kind = MP__PTR + 1;
    cr_assert(refused(&bad, MP_EINVAL, "victim is of an unknown kind: describe it with MP_TYPE"));
    bad = good, bad.count = 0;
    cr_assert(refused(&bad, MP_EINVAL, "victim has no fields: describe it with MP_TYPE"));
    bad = good, bad.fields = NULL;
    cr_assert(refused(&bad, MP_EINVAL, "victim has no fields: describe it with MP_TYPE"));
    bad = good, bad.count = MP_FIELDS_MAX + 1;
    cr_assert(refused(&bad, MP_ELIMIT, "victim has more than MP_FIELDS_MAX fields: make some of them a struct"));
    bad = good, bad.size = (size_t)MP_TYPE_SIZE_MAX + 8;
    cr_assert(refused(&bad, MP_ELIMIT, "victim is larger than MP_TYPE_SIZE_MAX: put its arrays into spans"));
}

CHECK(types, sizes_and_alignments__that_cannot_be__are_refused)
{
    mp_type bad = good;
    const char *text = "victim has a size or alignment that its kind cannot have";
    bad.align = 0;
    cr_assert(refused(&bad, MP_EINVAL, text));
    bad.align = 3;
    cr_assert(refused(&bad, MP_EINVAL, text));
    bad.align = 64;
    cr_assert(refused(&bad, MP_EINVAL, text), "the size is no multiple of it");
    bad = good, bad.align = 128, bad.size = 128;
    cr_assert(refused(&bad, MP_ELIMIT, "victim is aligned to more than 64 bytes"));
    static const uint32_t kinds[] = {MP__INT, MP__UINT,  MP__CHAR, MP__FLOAT,   MP__BOOL,
                                     MP__STR, MP__BYTES, MP__ANY,  MP__SPAN_OF, MP__PTR};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        bad = good, bad.kind = kinds[i], bad.size = 3, bad.align = 1;
        cr_assert(refused(&bad, MP_EINVAL, text), "%u", kinds[i]);
    }
}

static bool field_refused(mp_field field, mp_status status, const char *text)
{
    mp_field fields[3] = {good_fields[0], good_fields[1], field};
    mp_type bad = good;
    bad.fields = fields;
    return refused(&bad, status, text);
}

CHECK(types, fields__that_cannot_be__are_refused_by_name)
{
    const char *outside = "field 'x': the field is not inside victim";
    cr_assert(field_refused((mp_field){NULL, 8, 0, &mp__type_double}, MP_EINVAL, "a field of victim has no name"));
    cr_assert(field_refused((mp_field){"x", 8, 0, NULL}, MP_EINVAL, "field 'x': a raw pointer has no length: use MP_SPAN"));
    cr_assert(field_refused((mp_field){"x", 12, 0, &mp__type_double}, MP_EINVAL, outside));
    cr_assert(field_refused((mp_field){"x", 8, 2, &mp__type_double}, MP_EINVAL, outside));
    cr_assert(field_refused((mp_field){"x", SIZE_MAX - 3, 0, &mp__type_double}, MP_EINVAL, outside));
    cr_assert(field_refused((mp_field){"x", 8, SIZE_MAX / 8 + 1, &mp__type_double}, MP_EINVAL, outside));
    cr_assert(field_refused((mp_field){"x", 6, 0, &mp__type_int32_t}, MP_EINVAL,
                            "field 'x': the field shares its bytes with 'b': name each field once, and one of a union"));
    cr_assert(field_refused((mp_field){"x", 0, 4, &mp__type_int8_t}, MP_EINVAL,
                            "field 'x': the field shares its bytes with 'a': name each field once, and one of a union"));
    cr_assert(field_refused((mp_field){"x", 12, 4, &mp__type_char}, MP_OK, ""));
}

/* n structs within each other. */
static void nest(mp_type *types, mp_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fields[i] = (mp_field){"in", 0, 0, i ? &types[i - 1] : &mp__type_double};
        types[i] = (mp_type){sizeof(mp_type), MP__STRUCT, 8, 8, "level", 1, &fields[i], NULL};
    }
}

CHECK(types, depth__over_the_limit__is_refused)
{
    mp_type types[MP_DEPTH_MAX + 1], span;
    mp_field fields[MP_DEPTH_MAX + 1];
    mp__fault fault;
    nest(types, fields, MP_DEPTH_MAX + 1);
    cr_assert_eq(mp__type_check(&types[MP_DEPTH_MAX - 1], &fault), MP_OK);
    cr_assert_eq(mp__type_check(&types[MP_DEPTH_MAX], &fault), MP_ELIMIT);
    cr_assert_str_eq(fault.message, "level is nested more than MP_DEPTH_MAX deep; a type cannot contain itself");
    span = (mp_type){sizeof(mp_type), MP__SPAN_OF, 16, 8, "span of level", 0, NULL, &types[MP_DEPTH_MAX - 1]};
    cr_assert_eq(mp__type_check(&span, &fault), MP_ELIMIT);
    fields[0].type = &mp__type_mp_span_double;
    fields[0].count = 0;
    types[0].size = 16;
    for (size_t i = 1; i <= MP_DEPTH_MAX; i++)
        types[i].size = 16;
    cr_assert_eq(mp__type_check(&types[MP_DEPTH_MAX - 1], &fault), MP_OK, "a span of numbers is no array");
    fields[0] = (mp_field){"in", 0, 1, &mp__type_mp_str};
    cr_assert_eq(mp__type_check(&types[MP_DEPTH_MAX - 1], &fault), MP_ELIMIT, "a fixed array of texts is one");
}

CHECK(types, a_type__that_contains_itself__is_too_deep)
{
    mp_type node, span = {sizeof(mp_type), MP__SPAN_OF, 16, 8, "span of node", 0, NULL, &node};
    mp_field fields[2] = {{"left", 0, 0, &span}, {"right", 16, 0, &span}};
    mp__fault fault;
    node = (mp_type){sizeof(mp_type), MP__STRUCT, 32, 8, "node", 2, fields, NULL};
    cr_assert_eq(mp__type_check(&node, &fault), MP_ELIMIT);
    cr_assert_str_eq(fault.path + strlen(fault.path) - 10, ".left.left");
    cr_assert_eq(strncmp(fault.path, "left.left", 9), 0);
    span.element = &span;
    cr_assert_eq(mp__type_check(&span, &fault), MP_ELIMIT);
}

/* 31 levels of 64 spans each would take for ever. */
CHECK(types, parts__shared_a_great_many_times__are_too_many)
{
    static mp_type types[20], spans[20];
    static mp_field fields[20][MP_FIELDS_MAX];
    mp__fault fault;
    for (size_t level = 0; level < 15; level++) {
        for (size_t i = 0; i < MP_FIELDS_MAX; i++)
            fields[level][i] = (mp_field){"f", 16 * i, 0, level ? &spans[level - 1] : &mp__type_mp_span_double};
        types[level] = (mp_type){sizeof(mp_type), MP__STRUCT, 1024, 8, "wide", MP_FIELDS_MAX, fields[level], NULL};
        spans[level] = (mp_type){sizeof(mp_type), MP__SPAN_OF, 16, 8, "span of wide", 0, NULL, &types[level]};
    }
    cr_assert_eq(mp__type_check(&types[1], &fault), MP_OK);
    cr_assert_eq(mp__type_check(&types[14], &fault), MP_ELIMIT);
    cr_assert_not_null(strstr(fault.message, "too many parts"));
}
