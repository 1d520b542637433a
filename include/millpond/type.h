/* Types: what a task takes and gives. MP_TYPE names a struct's fields once; serial/FORMAT.md says how they travel.
 *
 *     typedef struct { double x, y; } point;
 *     MP_TYPE(point, x, y);
 *     typedef struct { mp_str name; char code[8]; point centre; MP_SPAN(point) corners; MP_SPAN(double) weights; } shape;
 *     MP_TYPE(shape, name, code, (point, centre), (point, corners), weights);
 *
 * A bare field name stands for a builtin type, found by the compiler: every integer type, float, double, bool, mp_str,
 * mp_bytes, mp_any, mp_ptr, a span of one of these, a fixed array of one of these; char[N] is a text that ends at its first
 * zero. `(type, field)` stands for a field of another MP_TYPE, a fixed array of them, or an MP_SPAN of them. A field that is
 * not named does not travel: the other side finds it zero. A raw pointer is a compiler diagnostic: its length is unknown, and
 * its address means nothing in a worker process; threads, which can use it, take it as an mp_ptr.
 *
 * Memory. What a task receives is borrowed until it returns. What a task puts into its result is copied when it returns;
 * mp_call_alloc (task.h) gives memory that lives until then. What a call gives back, through `out`, owns its memory: one
 * mp_free frees what any number of results own. What a handle shows is the handle's own: it lives as long, and mp_free of it frees nothing. */
#ifndef MILLPOND_TYPE_H
#define MILLPOND_TYPE_H
#include <millpond/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_DEPTH_MAX 32              /* how deep types and mp_any values may nest */
#define MP_FIELDS_MAX 64             /* how many fields one MP_TYPE may name */
#define MP_TYPE_SIZE_MAX (1u << 30)  /* how large one C value of a type may be, in bytes, without what it points to */
#define MP_ITEM_SIZE_MAX (1ull << 40) /* how large one encoded value may be, in bytes */

/* Text: `size` bytes of UTF-8 at `data`. A received one also has a zero after its last byte, for C functions that want it. */
typedef struct mp_str {
    const char *data;
    size_t size;
} mp_str;

/* Any bytes. */
typedef struct mp_bytes {
    const void *data;
    size_t size;
} mp_bytes;

/* Irregular data: the bytes of exactly one msgpack value, written and read with msgpack-c. */
typedef struct mp_any {
    const void *data;
    size_t size;
} mp_any;

/* An address, for pools of threads (MP_THREADS, MP_SERIAL) alone: passed as it is; what it points to is neither copied nor freed. A pool of
 * processes refuses a task that has one anywhere in its input or result (MP_ETYPE), as Python refuses to pickle. */
typedef struct mp_ptr {
    void *address;
} mp_ptr;

/* No input, or no result. There is nothing in it; arrays of it may be NULL. */
typedef struct mp_none {
    char mp__unused;
} mp_none;

/* A span: `count` elements at `items`. MP_SPAN(T) is there for every builtin type that is one word, and for every MP_TYPE. */
#define MP_SPAN(T) MP__SPAN(T)
#define MP__SPAN(T) mp_span_##T
#define MP__SPAN_TYPEDEF(T)         \
    typedef struct MP__SPAN(T) {    \
        T *items;                   \
        size_t count;               \
    } MP__SPAN(T)

/* The builtin types that are one word, with their kinds; `bool` comes apart from them, for it is a macro in C. */
#define MP__BUILTINS(X)                                                                                                    \
    X(int8_t, MP__INT) X(int16_t, MP__INT) X(int32_t, MP__INT) X(int64_t, MP__INT)                                         \
    X(uint8_t, MP__UINT) X(uint16_t, MP__UINT) X(uint32_t, MP__UINT) X(uint64_t, MP__UINT)                                 \
    X(char, MP__CHAR) X(short, MP__INT) X(int, MP__INT) X(long, MP__INT) X(unsigned, MP__UINT) X(size_t, MP__UINT)         \
    X(float, MP__FLOAT) X(double, MP__FLOAT) X(mp_str, MP__STR) X(mp_bytes, MP__BYTES) X(mp_any, MP__ANY)                  \
    X(mp_ptr, MP__PTR)

typedef enum mp__kind { MP__INT = 1, MP__UINT, MP__CHAR, MP__FLOAT, MP__BOOL, MP__STR, MP__BYTES, MP__ANY, MP__NONE,
                        MP__STRUCT, MP__SPAN_OF, MP__PTR } mp__kind;

/* The description of a type; built by the macros below. `layout` is the size of this very struct in the program that wrote
 * it, so that a later library knows what is there. */
typedef struct mp_type mp_type;
typedef struct mp_field {
    const char *name;
    size_t offset;
    size_t count; /* elements of a fixed array; 0: not an array */
    const mp_type *type;
} mp_field;
struct mp_type {
    uint32_t layout;
    uint32_t kind; /* mp__kind */
    size_t size, align;
    const char *name;
    size_t count;           /* MP__STRUCT: how many fields */
    const mp_field *fields; /* MP__STRUCT */
    const mp_type *element; /* MP__SPAN_OF */
};

#define MP__DECLARE_SPAN(T, kind) MP__SPAN_TYPEDEF(T);
MP__BUILTINS(MP__DECLARE_SPAN)
#undef MP__DECLARE_SPAN
typedef struct mp_span_bool {
    bool *items;
    size_t count;
} mp_span_bool;

MP__BEGIN
#define MP__DECLARE_TYPE(T, kind) MP__API extern const mp_type mp__type_##T, mp__type_mp_span_##T;
MP__BUILTINS(MP__DECLARE_TYPE)
#undef MP__DECLARE_TYPE
MP__API extern const mp_type mp__type_bool, mp__type_mp_span_bool, mp__type_mp_none;
MP__API extern const mp_type mp__type_long_long, mp__type_unsigned_long_long;

/* A text of a C string. `text` is borrowed for as long as the result is used; NULL is an empty text. */
MP__API mp_str mp_str_of(const char *text);

/* Frees what `count` values of a type own after a call gave them (sync calls: the `out` array), and zeroes the values.
 * Zeroed values, and values of items that failed, own nothing: they may be passed. The values' pointers must be as they were
 * given. Never blocks; any thread, one at a time for one value. In C call it as mp_free(point, out, n). Of memory in pieces of 32 to 256
 * MiB the last one stays with the process, for the next value of its size, until a pool is opened by fork or freed; the system may have
 * its pages whenever it needs them (madvise(2), MADV_FREE), and until then counts them as resident. */
MP__API void mp_free_values(const mp_type *type, void *values, size_t count);
#define mp_free(T, values, count) mp_free_values(&MP__TYPE(T), MP__CHECKED(T *, values), (count))
MP__END

/* `bool` is _Bool after macro expansion in C. */
#define mp__type__Bool mp__type_bool
#define mp_span__Bool mp_span_bool
#define mp__type_mp_span__Bool mp__type_mp_span_bool
#define MP__TYPE(T) MP__TYPE_(T)
#define MP__TYPE_(T) mp__type_##T

#ifndef __cplusplus

#define MP__UNUSED __attribute__((unused))

/* The pointer itself; one to another type is an error. */
#define MP__CHECKED(P, pointer) _Generic((pointer), P: (pointer), void *: (pointer))

/* MP_TYPE(T, field, ...): describes the struct T. At file scope, after T's typedef; a header is fine. Needs a semicolon. */
#define MP_TYPE(T, ...)                                                                                                    \
    MP__SPAN_TYPEDEF(T);                                                                                                   \
    MP__UNUSED static const mp_field mp__fields_##T[] = {MP__EACH(MP__FIELD, T, __VA_ARGS__)};                             \
    MP__DESCRIBE(T)

#define MP__DESCRIBE(T)                                                                                                    \
    MP__UNUSED static const mp_type mp__type_##T = {                                                                       \
        sizeof(mp_type), MP__STRUCT, sizeof(T), _Alignof(T), #T,                                                           \
        sizeof mp__fields_##T / sizeof mp__fields_##T[0], mp__fields_##T, NULL};                                           \
    MP__UNUSED static const mp_type mp__type_mp_span_##T = {                                                               \
        sizeof(mp_type), MP__SPAN_OF, sizeof(mp_span_##T), _Alignof(mp_span_##T), "span of " #T, 0, NULL, &mp__type_##T}

/* One entry of the table: `field` or `(type, field)`. */
#define MP__FIELD(T, f) MP__CONCAT(MP__FIELD_, MP__IS_PAREN(f))(T, f)
#define MP__FIELD_0(T, f) {#f, offsetof(T, f), MP__COUNT_OF(((T *)0)->f), MP__BUILTIN_OF(((T *)0)->f)},
#define MP__FIELD_1(T, f) MP__FIELD_2(T, MP__UNPAREN f)
#define MP__FIELD_2(T, ...) MP__FIELD_3(T, __VA_ARGS__)
#define MP__FIELD_3(T, U, f) {#f, offsetof(T, f), MP__COUNT_OF_TYPE(U, ((T *)0)->f), MP__TYPE_OF(U, ((T *)0)->f)},

/* A field of type U, U[N] or MP_SPAN(U); anything else, a raw `U *` included, fits no association: a diagnostic. */
#define MP__TYPE_OF(U, field)                                                                                              \
    _Generic(&(field),                                                                                                     \
        U **: MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_SPAN,                                                                \
        default: _Generic((field), U: &mp__type_##U, U *: &mp__type_##U, mp_span_##U: &mp__type_mp_span_##U))
#define MP__COUNT_OF_TYPE(U, field) _Generic((field), U *: sizeof(field) / (sizeof(U)), default: 0)

/* Not pointers, so that they are an error and not a warning: those are not shown for headers that are installed. */
struct mp__raw_pointer_has_no_length__use_mp_span {
    char mp__unused;
};
struct mp__raw_pointer_has_no_length__use_mp_bytes_or_mp_ptr {
    char mp__unused;
};
struct mp__raw_pointer_has_no_length__use_mp_str {
    char mp__unused;
};
#define MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_SPAN ((struct mp__raw_pointer_has_no_length__use_mp_span){0})
#define MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_BYTES_OR_MP_PTR                                                            \
    ((struct mp__raw_pointer_has_no_length__use_mp_bytes_or_mp_ptr){0})
#define MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_STR ((struct mp__raw_pointer_has_no_length__use_mp_str){0})

/* Every builtin type once, by what the compiler tells apart (int64_t is long here, and so on). */
#define MP__SCALARS(X, arg)                                                                                                \
    X(char, char, arg) X(signed char, int8_t, arg) X(unsigned char, uint8_t, arg) X(short, int16_t, arg)                   \
    X(unsigned short, uint16_t, arg) X(int, int, arg) X(unsigned, unsigned, arg) X(long, long, arg)                        \
    X(unsigned long, size_t, arg) X(long long, long_long, arg) X(unsigned long long, unsigned_long_long, arg)              \
    X(float, float, arg) X(double, double, arg) X(_Bool, bool, arg) X(mp_str, mp_str, arg) X(mp_bytes, mp_bytes, arg)      \
    X(mp_any, mp_any, arg) X(mp_ptr, mp_ptr, arg)
#define MP__SPANS(X, arg)                                                                                                  \
    X(int8_t, arg) X(int16_t, arg) X(int32_t, arg) X(int64_t, arg) X(uint8_t, arg) X(uint16_t, arg) X(uint32_t, arg)       \
    X(uint64_t, arg) X(char, arg) X(short, arg) X(int, arg) X(long, arg) X(unsigned, arg) X(size_t, arg) X(float, arg)     \
    X(double, arg) X(mp_str, arg) X(mp_bytes, arg) X(mp_any, arg) X(mp_ptr, arg)
#define MP__SCALAR_CASE(T, name, arg) T: &mp__type_##name, T *: &mp__type_##name,
#define MP__SPAN_CASE(T, arg) mp_span_##T: &mp__type_mp_span_##T,
#define MP__RAW_CASE(T, name, arg) T **: MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_SPAN,
#define MP__COUNT_CASE(T, name, field) T *: sizeof(field) / (sizeof(T)), /* the parentheses quiet -Wsizeof-array-div */
#define MP__BUILTIN_OF(field)                                                                                              \
    _Generic(&(field),                                                                                                     \
        MP__SCALARS(MP__RAW_CASE, 0)                                                                                       \
        default: _Generic((field), MP__SCALARS(MP__SCALAR_CASE, 0) MP__SPANS(MP__SPAN_CASE, 0)                             \
                          void *: MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_BYTES_OR_MP_PTR,                                 \
                          const void *: MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_BYTES_OR_MP_PTR,                           \
                          const char *: MP__A_RAW_POINTER_HAS_NO_LENGTH__USE_MP_STR,                                       \
                          mp_span_bool: &mp__type_mp_span_bool))
#define MP__COUNT_OF(field) _Generic((field), MP__SCALARS(MP__COUNT_CASE, field) default: 0)

/* MP__EACH(M, T, a, b, ...): M(T, a) M(T, b) ... for up to MP_FIELDS_MAX arguments. */
#define MP__CONCAT(a, b) MP__CONCAT_(a, b)
#define MP__CONCAT_(a, b) a##b
#define MP__UNPAREN(...) __VA_ARGS__
#define MP__SECOND(...) MP__SECOND_(__VA_ARGS__)
#define MP__SECOND_(a, b, ...) b
#define MP__PAREN_PROBE(...) ~, 1
#define MP__IS_PAREN(x) MP__SECOND(MP__PAREN_PROBE x, 0, 0)
#include <millpond/each.h>

#else
#define MP__CHECKED(P, pointer) static_cast<P>(pointer)
#endif /* C */
#endif
