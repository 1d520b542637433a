/* Type descriptions: the builtin ones, and the judge of all others.
 *
 * Decides what may be a type at all; encoder and decoder trust what has passed mp__type_check and look no further, so
 * whatever would hurt them has to be refused here: overlapping fields (memory that two own), a field outside its struct, a
 * type that contains itself (a recursion without end). Owns constant tables; any thread, no lock. Happy path: a walk over
 * the description when a task is registered or a pool opened, never for a value. It fails with the field's path and what to
 * do about it. A description's pointers have to be good: they come from the program, not over the wire. */
#include "serial/types.h"
#include "serial/wire.h"

enum { ALIGN_MAX = 64, VISITS_MAX = 1 << 16 };

#define SCALAR(T, kind) const mp_type mp__type_##T = {sizeof(mp_type), kind, sizeof(T), _Alignof(T), #T, 0, NULL, NULL};
#define SPAN(T)                                                                                                            \
    const mp_type mp__type_mp_span_##T = {                                                                                 \
        sizeof(mp_type), MP__SPAN_OF, sizeof(mp_span_##T), _Alignof(mp_span_##T), "span of " #T, 0, NULL, &mp__type_##T};
#define SCALAR_AND_SPAN(T, kind) SCALAR(T, kind) SPAN(T)
MP__BUILTINS(SCALAR_AND_SPAN)
SCALAR(mp_none, MP__NONE)

const mp_type mp__type_bool = {sizeof(mp_type), MP__BOOL, sizeof(bool), _Alignof(bool), "bool", 0, NULL, NULL};
const mp_type mp__type_mp_span_bool = {
    sizeof(mp_type), MP__SPAN_OF, sizeof(mp_span_bool), _Alignof(mp_span_bool), "span of bool", 0, NULL, &mp__type_bool};
const mp_type mp__type_long_long = {
    sizeof(mp_type), MP__INT, sizeof(long long), _Alignof(long long), "long long", 0, NULL, NULL};
const mp_type mp__type_unsigned_long_long = {sizeof(mp_type),
                                             MP__UINT,
                                             sizeof(unsigned long long),
                                             _Alignof(unsigned long long),
                                             "unsigned long long",
                                             0,
                                             NULL,
                                             NULL};

/* The state of one check. `visits` keeps a type whose parts are shared a great many times from taking for ever. */
typedef struct checker {
    mp__fault *fault;
    size_t visits;
} checker;

static bool check(checker *c, const mp_type *type, size_t depth);

#define refuse(c, status, ...) ((void)mp__fault_set((c)->fault, (status), MP__NO_OFFSET, __VA_ARGS__), false)

static bool is_size(size_t size, size_t a, size_t b, size_t c, size_t d)
{
    return size == a || size == b || size == c || size == d;
}

static bool size_fits_kind(const mp_type *type)
{
    switch (type->kind) {
    case MP__INT:
    case MP__UINT: return is_size(type->size, 1, 2, 4, 8);
    case MP__FLOAT: return is_size(type->size, 4, 8, 4, 8);
    case MP__CHAR:
    case MP__BOOL:
    case MP__NONE: return type->size == 1;
    case MP__STR:
    case MP__BYTES:
    case MP__ANY:
    case MP__SPAN_OF: return type->size == sizeof(mp__datum);
    case MP__PTR: return type->size == sizeof(mp_ptr);
    default: return type->size > 0;
    }
}

static bool check_head(checker *c, const mp_type *type)
{
    if (!type)
        return refuse(c, MP_EINVAL, "a raw pointer has no length: use MP_SPAN");
    if (type->layout != sizeof(mp_type))
        return refuse(c, MP_EINVAL, "the type was compiled with the headers of another version of millpond than %s",
                      mp_version());
    if (!type->name || !type->name[0])
        return refuse(c, MP_EINVAL, "the type has no name: describe it with MP_TYPE");
    if (type->kind < MP__INT || type->kind > MP__PTR)
        return refuse(c, MP_EINVAL, "%s is of an unknown kind: describe it with MP_TYPE", type->name);
    if (type->size > MP_TYPE_SIZE_MAX)
        return refuse(c, MP_ELIMIT, "%s is larger than MP_TYPE_SIZE_MAX: put its arrays into spans", type->name);
    if (type->align > ALIGN_MAX)
        return refuse(c, MP_ELIMIT, "%s is aligned to more than 64 bytes", type->name);
    bool align_good = type->align && (type->align & (type->align - 1)) == 0 && type->size % type->align == 0;
    if (!align_good || !size_fits_kind(type))
        return refuse(c, MP_EINVAL, "%s has a size or alignment that its kind cannot have", type->name);
    return true;
}

/* The bytes of the struct that a field covers; false: not inside it. */
static bool field_extent(const mp_type *type, const mp_field *field, size_t *end)
{
    size_t size;
    return !__builtin_mul_overflow(field->count ? field->count : 1, field->type->size, &size) &&
           !__builtin_add_overflow(field->offset, size, end) && *end <= type->size;
}

static bool check_place(checker *c, const mp_type *type, const mp_field *field)
{
    size_t end = 0, other_end = 0;
    if (!field_extent(type, field, &end))
        return refuse(c, MP_EINVAL, "the field is not inside %s", type->name);
    for (const mp_field *other = type->fields; other < field; other++) {
        (void)field_extent(type, other, &other_end);
        if (field->offset < other_end && other->offset < end)
            return refuse(c, MP_EINVAL, "the field shares its bytes with '%s': name each field once, and one of a union",
                          other->name);
    }
    return true;
}

static bool check_field(checker *c, const mp_type *type, const mp_field *field, size_t depth)
{
    bool array = field->count > 0 && field->type && !mp__is_number(field->type);
    return check(c, field->type, depth + array) && check_place(c, type, field);
}

static bool check_fields(checker *c, const mp_type *type, size_t depth)
{
    if (!type->fields || type->count == 0)
        return refuse(c, MP_EINVAL, "%s has no fields: describe it with MP_TYPE", type->name);
    if (type->count > MP_FIELDS_MAX)
        return refuse(c, MP_ELIMIT, "%s has more than MP_FIELDS_MAX fields: make some of them a struct", type->name);
    for (size_t i = 0; i < type->count; i++) {
        const mp_field *field = &type->fields[i];
        if (!field->name || !field->name[0])
            return refuse(c, MP_EINVAL, "a field of %s has no name", type->name);
        if (!check_field(c, type, field, depth)) {
            mp__fault_in_field(c->fault, field->name);
            return false;
        }
    }
    return true;
}

/* `depth`: the msgpack arrays that are open where a value of the type stands. */
static bool check(checker *c, const mp_type *type, size_t depth)
{
    if (!check_head(c, type))
        return false;
    if (++c->visits > VISITS_MAX)
        return refuse(c, MP_ELIMIT, "%s has too many parts", type->name);
    bool is_array =
        type->kind == MP__STRUCT || (type->kind == MP__SPAN_OF && type->element && !mp__is_number(type->element));
    if (depth + is_array > MP_DEPTH_MAX)
        return refuse(c, MP_ELIMIT, "%s is nested more than MP_DEPTH_MAX deep; a type cannot contain itself", type->name);
    if (type->kind == MP__STRUCT)
        return check_fields(c, type, depth + 1);
    return type->kind != MP__SPAN_OF || check(c, type->element, depth + is_array);
}

mp_status mp__type_check(const mp_type *type, mp__fault *fault)
{
    checker c = {.fault = fault};
    fault->status = MP_OK;
    return check(&c, type, 0) ? MP_OK : fault->status;
}

bool mp__type_owns(const mp_type *type)
{
    if (type->kind != MP__STRUCT)
        return type->kind == MP__SPAN_OF || (type->kind >= MP__STR && type->kind <= MP__ANY);
    for (size_t i = 0; i < type->count; i++)
        if (mp__type_owns(type->fields[i].type))
            return true;
    return false;
}

bool mp__type_has_pointer(const mp_type *type)
{
    if (type->kind == MP__SPAN_OF)
        return mp__type_has_pointer(type->element);
    for (size_t i = 0; type->kind == MP__STRUCT && i < type->count; i++)
        if (mp__type_has_pointer(type->fields[i].type))
            return true;
    return type->kind == MP__PTR;
}

const char *mp__type_word(const mp_type *type)
{
    static const char *const ints[9] = {[1] = "int8", [2] = "int16", [4] = "int32", [8] = "int64"};
    static const char *const uints[9] = {[1] = "uint8", [2] = "uint16", [4] = "uint32", [8] = "uint64"};
    static const char *const others[] = {[MP__CHAR] = "char", [MP__BOOL] = "bool", [MP__STR] = "str", [MP__BYTES] = "bytes",
                                         [MP__ANY] = "any",   [MP__NONE] = "none", [MP__PTR] = "ptr"};
    switch (type->kind) {
    case MP__INT: return ints[type->size];
    case MP__UINT: return uints[type->size];
    case MP__FLOAT: return type->size == 4 ? "float" : "double";
    case MP__STRUCT:
    case MP__SPAN_OF: return type->name;
    default: return others[type->kind];
    }
}

static bool same_field(const mp_field *one, const mp_field *other)
{
    return !strcmp(one->name, other->name) && one->offset == other->offset && one->count == other->count &&
           mp__type_same(one->type, other->type);
}

bool mp__type_same(const mp_type *one, const mp_type *other)
{
    if (one == other)
        return true;
    if (one->kind != other->kind || one->size != other->size || one->count != other->count)
        return false;
    if (one->kind == MP__SPAN_OF)
        return mp__type_same(one->element, other->element);
    for (size_t i = 0; one->kind == MP__STRUCT && i < one->count; i++)
        if (!same_field(&one->fields[i], &other->fields[i]))
            return false;
    return true;
}
