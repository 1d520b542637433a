/* Numbers: every form into every type, at the edges. */
#include "tests/lib/check.h"
#include "tests/unit/values.h"

TestSuite(number, .timeout = 60);

typedef struct kind_of_int {
    const mp_type *type;
    bool is_signed;
    unsigned bits;
} kind_of_int;

static const kind_of_int ints[] = {
    {&mp__type_int8_t, true, 8},     {&mp__type_int16_t, true, 16},   {&mp__type_int32_t, true, 32},
    {&mp__type_int64_t, true, 64},   {&mp__type_uint8_t, false, 8},   {&mp__type_uint16_t, false, 16},
    {&mp__type_uint32_t, false, 32}, {&mp__type_uint64_t, false, 64}, {&mp__type_char, (char)-1 < 0, 8},
};
enum { INTS = sizeof ints / sizeof ints[0] };

/* In 128 bits there is no doubt. */
static bool fits(const kind_of_int *kind, __int128 number)
{
    __int128 one = 1, low = kind->is_signed ? -(one << (kind->bits - 1)) : 0;
    __int128 high = kind->is_signed ? (one << (kind->bits - 1)) - 1 : (one << kind->bits) - 1;
    return number >= low && number <= high;
}

/* Decodes the bytes and says whether what comes out is the number, or a refusal if it does not fit. Once behind something,
 * with bytes after it, once alone with not a byte too many. */
static bool decodes(const kind_of_int *kind, const uint8_t *bytes, size_t size, __int128 number)
{
    uint64_t value = 0xaaaaaaaaaaaaaaaa, low = kind->bits == 64 ? UINT64_MAX : ((uint64_t)1 << kind->bits) - 1;
    mp__fault fault;
    mp__frame frame = frame_of(bytes, size);
    mp_status status = mp__decode_result(kind->type, &frame, &value, &fault);
    if (!fits(kind, number))
        return status == MP_ERANGE;
    return status == MP_OK && (value & low) == ((uint64_t)number & low) && (value & ~low) == (0xaaaaaaaaaaaaaaaa & ~low);
}

static void check_forms(__int128 number)
{
    for (unsigned form = 0; form < 8; form++) { /* uint 8 to 64, int 8 to 64 */
        unsigned width = 1u << (form & 3);
        kind_of_int wire = {NULL, form >= 4, 8 * width};
        uint8_t *bytes = malloc(1 + width);
        bytes[0] = (uint8_t)(0xcc + form);
        for (unsigned i = 0; i < width; i++)
            bytes[1 + i] = (uint8_t)((uint64_t)number >> (8 * (width - 1 - i)));
        for (size_t i = 0; fits(&wire, number) && i < INTS; i++)
            cr_assert(decodes(&ints[i], bytes, 1 + width, number), "%s, form %u, %lld", ints[i].type->name, form,
                      (long long)number);
        free(bytes);
    }
}

CHECK(number, integers__every_form_at_every_edge__fit_or_are_refused)
{
    for (unsigned shift = 0; shift <= 64; shift++) {
        for (int near = -2; near <= 2; near++) {
            check_forms(((__int128)1 << shift) + near);
            check_forms(-((__int128)1 << shift) + near);
        }
    }
}

CHECK(number, integers__the_forms_of_one_byte__fit_or_are_refused)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t bytes[1] = {(uint8_t)byte};
        for (size_t i = 0; (byte < 0x80 || byte >= 0xe0) && i < INTS; i++)
            cr_assert(decodes(&ints[i], bytes, 1, (int8_t)byte), "%s: %u", ints[i].type->name, byte);
    }
}

CHECK(number, integers__among_others_in_a_struct__are_read_without_a_step_too_far)
{
    typedef struct {
        int64_t a;
        uint8_t b;
        int16_t c;
    } three;
    static const mp_field fields[] = {{"a", offsetof(three, a), 0, &mp__type_int64_t},
                                      {"b", offsetof(three, b), 0, &mp__type_uint8_t},
                                      {"c", offsetof(three, c), 0, &mp__type_int16_t}};
    static const mp_type type = {sizeof(mp_type), MP__STRUCT, sizeof(three), _Alignof(three), "three", 3, fields, NULL};
    three value;
    mp__fault fault;
    cr_assert_eq(decode_hex(&type, "93 d2ffffff00 ccff d1fffe", &value, &fault), MP_OK);
    cr_assert(value.a == -256 && value.b == 255 && value.c == -2);
    cr_assert_eq(decode_hex(&type, "93 ff cd00ff d3fffffffffffffffe", &value, &fault), MP_OK);
    cr_assert(value.a == -1 && value.b == 255 && value.c == -2);
    cr_assert_eq(decode_hex(&type, "93 ff cd0100 00", &value, &fault), MP_ERANGE);
    cr_assert_str_eq(fault.message, "256 does not fit uint8");
    cr_assert_eq(decode_hex(&type, "93 ff 00 d1ff", &value, &fault), MP_EFORMAT);
}

static bool refuses(const mp_type *type, const char *hex, const char *message)
{
    double value;
    mp__fault fault;
    return decode_hex(type, hex, &value, &fault) == MP_ERANGE && !strcmp(fault.message, message);
}

CHECK(number, refusals__name_the_number)
{
    cr_assert(refuses(&mp__type_int8_t, "cd 012c", "300 does not fit int8"));
    cr_assert(refuses(&mp__type_uint16_t, "ff", "-1 does not fit uint16"));
    cr_assert(refuses(&mp__type_int64_t, "cf ffffffffffffffff", "18446744073709551615 does not fit int64"));
    cr_assert(refuses(&mp__type_uint64_t, "d3 8000000000000000", "-9223372036854775808 does not fit uint64"));
    cr_assert(refuses(&mp__type_double, "cf 0020000000000001", "9007199254740993 does not fit double"));
    cr_assert(refuses(&mp__type_double, "d3 ffdfffffffffffff", "-9007199254740993 does not fit double"));
    cr_assert(refuses(&mp__type_float, "ce 01000001", "16777217 does not fit float"));
    cr_assert(refuses(&mp__type_float, "cb 7e37e43c8800759c", "1.0000000000000001e+300 does not fit float"));
    cr_assert(refuses(&mp__type_float, "cb 47effffff0000000", "3.4028235677973366e+38 does not fit float"));
}

static double decoded(const mp_type *type, const char *hex)
{
    double wide = 0;
    float narrow = 0;
    mp__fault fault = {0};
    mp_status status = decode_hex(type, hex, type->size == 4 ? (void *)&narrow : &wide, &fault);
    return status != MP_OK ? 12345.0 : type->size == 4 ? (double)narrow : wide;
}

CHECK(number, floats__from_other_forms__are_the_same_number)
{
    cr_assert(same_double(decoded(&mp__type_double, "ca 3fc00000"), 1.5));
    cr_assert(same_double(decoded(&mp__type_float, "cb 3ff8000000000000"), 1.5));
    cr_assert(same_double(decoded(&mp__type_float, "cb 3fb999999999999a"), (double)0.1f), "rounded");
    cr_assert(same_double(decoded(&mp__type_float, "cb 47efffffefffffff"), 0x1.fffffep127), "rounds down to the largest");
    cr_assert(same_double(decoded(&mp__type_float, "cb fff0000000000000"), -INFINITY));
    cr_assert(isnan(decoded(&mp__type_float, "cb 7ff8000000000000")));
    cr_assert(isnan(decoded(&mp__type_double, "ca 7fc00000")));
    cr_assert(same_double(decoded(&mp__type_double, "ca 80000000"), -0.0));
}

CHECK(number, floats__from_integers_that_they_hold__are_the_same_number)
{
    cr_assert(same_double(decoded(&mp__type_double, "07"), 7));
    cr_assert(same_double(decoded(&mp__type_double, "ff"), -1));
    cr_assert(same_double(decoded(&mp__type_double, "00"), 0));
    cr_assert(same_double(decoded(&mp__type_double, "cf 0020000000000000"), 0x1p53));
    cr_assert(same_double(decoded(&mp__type_double, "cf 8000000000000000"), 0x1p63));
    cr_assert(same_double(decoded(&mp__type_double, "cf fffffffffffff800"), 0x1.fffffffffffffp63));
    cr_assert(same_double(decoded(&mp__type_double, "d3 8000000000000000"), -0x1p63));
    cr_assert(same_double(decoded(&mp__type_float, "ce 01000000"), 0x1p24));
    cr_assert(same_double(decoded(&mp__type_float, "cf 8000000000000000"), 0x1p63));
}
