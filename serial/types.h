/* What a type description must satisfy before anything is done with it. */
#ifndef MP__SERIAL_TYPES_H
#define MP__SERIAL_TYPES_H
#include "serial/fault.h"
#include <millpond/type.h>

/* MP_OK, or MP_EINVAL (not whole: no name, no fields, a field outside the struct, an unknown kind, another layout, a NULL
 * type, which is what a raw pointer field leaves), MP_ELIMIT (over MP_DEPTH_MAX, MP_TYPE_SIZE_MAX, MP_FIELDS_MAX). A type
 * that contains itself is too deep. The message says which field and what to do. */
mp_status mp__type_check(const mp_type *type, mp__fault *fault);

/* True if a value of the type can point to memory: a span, text, bytes or any in it. */
bool mp__type_owns(const mp_type *type);

/* True if there is an mp_ptr anywhere in the type, behind spans too: what has one cannot go to another process. The type must have
 * passed mp__type_check. */
bool mp__type_has_pointer(const mp_type *type);
#define MP__POINTER_REFUSED                                                                                                \
    "an mp_ptr means nothing in another process: use a thread pool, or send the data (mp_bytes, MP_SPAN)"

/* True if values of one are values of the other, field by field: the same type may be described in several files. */
bool mp__type_same(const mp_type *one, const mp_type *other);

/* "int32", "double", "str", "span of point": for messages. Borrowed for ever. */
const char *mp__type_word(const mp_type *type);

#endif
