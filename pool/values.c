/* Copies of values: what users hand over for later, and results that are handed out more than once.
 *
 * Decides nothing. Each value owns what it points to as a decoded result does (serial/copy.h), so that one way of freeing does
 * for all. No lock, any thread, no state. It fails for want of memory, and for values that point nowhere. */
#include "pool/values.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "serial/copy.h"
#include "serial/memory.h"
#include "serial/types.h"
#include "serial/wire.h"
#include <millpond/async.h>
#include <stdlib.h>
#include <string.h>

void *mp__values_alloc(const mp_type *type, size_t n)
{
    size_t size;
    if (__builtin_mul_overflow(type->size, n ? n : 1, &size) || size > PTRDIFF_MAX)
        return NULL;
    if (type->align <= _Alignof(max_align_t))
        return mp__memory.calloc(1, size);
    size = (size + type->align - 1) / type->align * type->align;
    void *values = mp__memory.aligned_alloc(type->align, size);
    if (values)
        memset(values, 0, size);
    return values;
}

void *mp__values_copy(const mp_type *type, const void *from, size_t n, mp__fault *fault)
{
    unsigned char *values = mp__values_alloc(type, n);
    if (!values) {
        (void)mp__fault_set(fault, MP_ENOMEM, 0, "no memory for %zu values", n);
        return NULL;
    }
    if (!mp__type_owns(type) && n)
        memcpy(values, from, n * type->size);
    if (!mp__type_owns(type))
        return values;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *one = (const unsigned char *)from + i * type->size;
        if (mp__copy(type, one, values + i * type->size, NULL, fault) != MP_OK) {
            if (n > 1)
                mp__fault_in_element(fault, i);
            mp__values_free(type, values, i);
            return NULL;
        }
    }
    return values;
}

void mp__values_free(const mp_type *type, void *values, size_t n)
{
    if (!values)
        return;
    if (mp__type_owns(type))
        mp_free_values(type, values, n);
    free(values);
}

/* Texts, bytes, anys and spans are all a pointer and a size. */
static size_t bytes_of_span(const mp_type *element, const void *datum)
{
    mp__datum span;
    memcpy(&span, datum, sizeof span);
    size_t bytes = element ? span.size * element->size : span.size;
    for (size_t i = 0; element && mp__type_owns(element) && i < span.size; i++)
        bytes += mp__values_bytes(element, (const unsigned char *)span.data + i * element->size);
    return bytes;
}

bool mp__values_fit(const mp_type *type, const void *out, size_t size)
{
    return !type || !out || mp__is_none(type) || !size || size == MP__UNSIZED || size == type->size;
}

size_t mp__values_bytes(const mp_type *type, const void *value)
{
    if (!mp__type_owns(type))
        return 0;
    if (type->kind != MP__STRUCT)
        return bytes_of_span(type->kind == MP__SPAN_OF ? type->element : NULL, value);
    size_t bytes = 0;
    for (size_t i = 0; i < type->count; i++) {
        const mp_field *field = &type->fields[i];
        for (size_t k = 0; k < (field->count ? field->count : 1); k++)
            bytes += mp__values_bytes(field->type, (const unsigned char *)value + field->offset + k * field->type->size);
    }
    return bytes;
}

mp_status mp__values_failure(mp_error *error, const char *what, const mp__fault *fault)
{
    char text[sizeof fault->path + sizeof fault->message + 32];
    mp__fault_text(fault, text, sizeof text);
    return mp__failure(error, fault->status, "%s: %s", what, text);
}
