/* Numbers out of msgpack: any form that fits the C type.
 *
 * Decides what fits: an integer of every msgpack form whose value the type can hold; into float and double also integers
 * that they hold exactly; a float64 into a float by rounding, unless a finite number became infinite. A float never becomes
 * an integer. Owns nothing; any thread. Happy path: not here but in number.h, which reads what the encoder writes; here is
 * what foreign writers send, and every refusal. It fails with the number in the text, for that is what its user looks
 * for. */
#include "serial/number.h"
#include "serial/decoder.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>

static void store(uint8_t *to, const void *number, size_t size)
{
    if (to)
        memcpy(to, number, size);
}

static const uint8_t *fail_range(mp__decoder *d, const uint8_t *p, mp__integer number, const mp_type *type)
{
    if (number.negative)
        return mp__decoder_fail(d, p, MP_ERANGE, "%" PRId64 " does not fit %s", (int64_t)number.bits, mp__type_word(type));
    return mp__decoder_fail(d, p, MP_ERANGE, "%" PRIu64 " does not fit %s", number.bits, mp__type_word(type));
}

static const uint8_t *decode_integer(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    mp__integer number;
    if (!mp__is_integer(*p))
        return mp__decoder_unexpected(d, p, mp__type_word(type));
    const uint8_t *next = mp__read_integer(p, d->end, &number);
    if (!next)
        return mp__decoder_cut_short(d, p);
    bool is_signed = type->kind == MP__INT || (type->kind == MP__CHAR && (char)-1 < 0);
    if (!mp__integer_fits(number, is_signed, type->size))
        return fail_range(d, p, number, type);
    store(to, &number.bits, type->size); /* the low bytes come first */
    return next;
}

/* True if a float type with so many bits of significand holds it exactly. */
static bool integer_is_exact(mp__integer number, int digits)
{
    uint64_t size = number.negative ? 0 - number.bits : number.bits;
    return size == 0 || 64 - __builtin_clzll(size) - __builtin_ctzll(size) <= digits;
}

static const uint8_t *decode_float_from_integer(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    mp__integer number;
    const uint8_t *next = mp__read_integer(p, d->end, &number);
    if (!next)
        return mp__decoder_cut_short(d, p);
    if (!integer_is_exact(number, type->size == sizeof(float) ? FLT_MANT_DIG : DBL_MANT_DIG))
        return fail_range(d, p, number, type);
    double wide = number.negative ? (double)(int64_t)number.bits : (double)number.bits;
    float narrow = (float)wide;
    store(to, type->size == sizeof narrow ? (const void *)&narrow : &wide, type->size);
    return next;
}

static const uint8_t *decode_float32(const uint8_t *p, const mp_type *type, uint8_t *to)
{
    uint32_t bits = (uint32_t)mp__load_be(p + 1, sizeof bits);
    float narrow;
    memcpy(&narrow, &bits, sizeof narrow);
    double wide = (double)narrow;
    store(to, type->size == sizeof narrow ? (const void *)&bits : &wide, type->size);
    return p + 1 + sizeof bits;
}

static const uint8_t *decode_float64(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    uint64_t bits = mp__load_be64(p + 1);
    double wide;
    memcpy(&wide, &bits, sizeof wide);
    if (type->size == sizeof wide) {
        store(to, &bits, sizeof bits);
        return p + 1 + sizeof bits;
    }
    if (isfinite(wide) && fabs(wide) >= 0x1.ffffffp127) /* from here on, rounding to float gives infinity */
        return mp__decoder_fail(d, p, MP_ERANGE, "%.17g does not fit %s", wide, mp__type_word(type));
    float narrow = (float)wide;
    store(to, &narrow, sizeof narrow);
    return p + 1 + sizeof bits;
}

static const uint8_t *decode_float(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    size_t left = mp__decoder_left(d, p);
    if (mp__is_integer(*p))
        return decode_float_from_integer(d, p, type, to);
    if (*p == MP__WIRE_FLOAT32)
        return left < 5 ? mp__decoder_cut_short(d, p) : decode_float32(p, type, to);
    if (*p == MP__WIRE_FLOAT64)
        return left < 9 ? mp__decoder_cut_short(d, p) : decode_float64(d, p, type, to);
    return mp__decoder_unexpected(d, p, mp__type_word(type));
}

static const uint8_t *decode_bool(mp__decoder *d, const uint8_t *p, uint8_t *to)
{
    if (*p != MP__WIRE_FALSE && *p != MP__WIRE_TRUE)
        return mp__decoder_unexpected(d, p, "bool");
    if (to)
        *to = *p & 1;
    return p + 1;
}

const uint8_t *mp__decode_number(mp__decoder *d, const uint8_t *p, const mp_type *type, uint8_t *to)
{
    if (p == d->end)
        return mp__decoder_cut_short(d, p);
    if (type->kind == MP__FLOAT)
        return decode_float(d, p, type, to);
    return type->kind == MP__BOOL ? decode_bool(d, p, to) : decode_integer(d, p, type, to);
}
