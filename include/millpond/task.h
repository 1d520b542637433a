/* Tasks: plain C functions that a pool runs. MP_TASK registers one under its name; MP_FUNCTION makes one of a function that
 * exists already.
 *
 *     static mp_status integrate(const interval *in, double *area, mp_call *call);
 *     MP_TASK(integrate, interval, double);
 *
 *     double norm(double x, double y);
 *     MP_FUNCTION(double, norm, (double, x), (double, y));      // and norm_args { double x, y; } is its input
 *
 * A task runs in a worker process (on threads: pool.h), forked when its pool was opened: it sees the program's memory as it was
 * then (with other start methods: nothing of it), and what it changes there no one else sees. Standard input is empty; the program's other descriptors above 2 are closed, and what is
 * written to a FILE over one fails; a FILE that a task opens it must also close. Standard output is flushed whenever the worker
 * has nothing to do. Signals: handlers of the program are gone, SIGINT is ignored, for the parent decides, SIGTERM ends it. Its
 * stack is as large as that of the thread that opened the pool. Processes that it starts end with its worker, which leads a process
 * group; those that leave that (setsid) with the pool; and they read no terminal. It reports failure with mp_fail; if it crashes, exits or is
 * killed, that fails its item and no other. */
#ifndef MILLPOND_TASK_H
#define MILLPOND_TASK_H
#include <millpond/error.h>
#include <millpond/type.h>

MP__BEGIN
/* One call of a task: who asked for which item, and memory for its result. Valid until the task returns. */
typedef struct mp_call mp_call;

/* The description of a task; built by MP_TASK. `layout` as in mp_type. The last two call a callback and a generator of the user's
 * with their own types (async.h, iter.h). */
typedef struct mp_task {
    uint32_t layout;
    const char *name;
    const char *file; /* where it was registered, for messages */
    int line;
    const mp_type *input, *output;
    mp_status (*run)(const void *input, void *output, mp_call *call);
    void (*tell)(void (*callback)(void), const void *values, size_t n, bool all, void *user);
    mp_status (*ask)(void (*next)(void), bool plain, void *item, void *user, mp_error *error);
} mp_task;

/* A place in the registry; one for each task, never moved. */
typedef struct mp_task_entry {
    const mp_task *task;
    struct mp_task_entry *next;
} mp_task_entry;

/* Fails the item: `return mp_fail(call, MP_EINVAL, "steps must be positive, got %d", steps);`. The text (printf(3), cut at
 * MP_MESSAGE_MAX) becomes the item's error; returns `status`, or MP_EFAILED if that is MP_OK. What a task returns is its item's
 * status: MP_OK after mp_fail is success. MP_END and MP_ETIMEDOUT are what waiting calls say: returned by a task they become
 * MP_EFAILED. */
MP__API mp_status mp_fail(mp_call *call, mp_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Memory for the result, aligned for anything, freed by the library after the result was sent. NULL when there is none.
 * As Python: what a function returns outlives it. */
MP__API void *mp_call_alloc(mp_call *call, size_t size);

/* The index of the item in the array that was given to the call, and the index of the worker that runs it, from 0 to the number
 * of workers less one; a replacement has the same. And the worker's name, "mp-worker_3": see `.thread_name_prefix`; borrowed. */
MP__API size_t mp_call_item(const mp_call *call);
MP__API int mp_call_worker(const mp_call *call);
MP__API const char *mp_call_worker_name(const mp_call *call);

/* Which attempt this is at the item, from 1: see .retries (policy.h). */
MP__API uint32_t mp_call_attempt(const mp_call *call);

/* True when nobody waits for this item any more: its call was cancelled, its stream freed, its pool terminated. A long task on a
 * thread should look now and then, and return; a worker process is ended anyway when its pool is terminated. Cheap. */
MP__API bool mp_call_cancelled(const mp_call *call);

/* A pointer of the worker's own, NULL at first: an initializer sets it, tasks use it, a finalizer frees what it points to. */
MP__API void mp_call_set_state(mp_call *call, void *state);
MP__API void *mp_call_state(const mp_call *call);

/* Registers a task by hand: needed only where constructors do not run or linkers drop them (a static archive without
 * link_whole). `entry` and its task are taken until mp_task_unregister or the program's end. Tasks of one name from two
 * shared libraries are MP_EDUPLICATE, the same task twice is MP_OK; MP_EINVAL: no name, a name over MP_NAME_MAX - 1 bytes,
 * no function, or a type that is too deep, too large or not whole. Any thread. A pool knows the tasks that were there when
 * it was opened: register first. */
MP__API mp_status mp_task_register(mp_task_entry *entry, mp_error *error);
MP__API void mp_task_unregister(mp_task_entry *entry);

/* The task of this name, or NULL. Borrowed until it is unregistered. */
MP__API const mp_task *mp_task_find(const char *name);
MP__END

#ifndef __cplusplus

/* MP_TASK(function, input type, output type): registers `mp_status function(const input *, output *, mp_call *)`. At file
 * scope, after the function's declaration. Needs a semicolon. Types are single words: an MP_TYPE, a builtin, MP_SPAN(T),
 * mp_none. */
#define MP_TASK(f, I, O)                                                                                                   \
    MP__TASK_TYPES(f, I, O);                                                                                               \
    static mp_status mp__run_##f(const void *mp__i, void *mp__o, mp_call *mp__c)                                           \
    {                                                                                                                      \
        return f((const I *)mp__i, (O *)mp__o, mp__c);                                                                     \
    }                                                                                                                      \
    MP__REGISTER(f, I, O)

/* What calls are checked against: a function that is never defined, and names for the types. */
#define MP__TASK_TYPES(f, I, O)                                                                                            \
    mp_status mp__check_##f(const I *, O *);                                                                               \
    MP__UNUSED typedef I mp__input_of_##f;                                                                                 \
    MP__UNUSED typedef O mp__output_of_##f

#define MP__REGISTER(f, I, O)                                                                                              \
    static void mp__tell_##f(void (*mp__f)(void), const void *mp__v, size_t mp__n, bool mp__all, void *mp__u)              \
    {                                                                                                                      \
        if (mp__all)                                                                                                       \
            ((void (*)(const O *, size_t, void *))mp__f)((const O *)mp__v, mp__n, mp__u);                                  \
        else                                                                                                               \
            ((void (*)(const O *, void *))mp__f)((const O *)mp__v, mp__u);                                                 \
    }                                                                                                                      \
    static mp_status mp__ask_##f(void (*mp__f)(void), bool mp__plain, void *mp__v, void *mp__u, mp_error *mp__e)           \
    {                                                                                                                      \
        if (mp__plain)                                                                                                     \
            return ((bool (*)(I *, void *))mp__f)((I *)mp__v, mp__u) ? MP_OK : MP_END;                                     \
        return ((mp_status (*)(I *, void *, mp_error *))mp__f)((I *)mp__v, mp__u, mp__e);                                  \
    }                                                                                                                      \
    extern const mp_task mp__task_##f __attribute__((visibility("hidden")));                                               \
    const mp_task mp__task_##f = {sizeof(mp_task), #f, __FILE__, __LINE__, &MP__TYPE(I), &MP__TYPE(O), mp__run_##f,        \
                                  mp__tell_##f, mp__ask_##f};                                                              \
    static mp_task_entry mp__entry_##f = {&mp__task_##f, NULL};                                                            \
    __attribute__((constructor(101))) static void mp__register_##f(void)                                                   \
    {                                                                                                                      \
        (void)mp_task_register(&mp__entry_##f, NULL); /* what fails here is said when the task is used */                  \
    }                                                                                                                      \
    __attribute__((destructor(101))) static void mp__unregister_##f(void)                                                  \
    {                                                                                                                      \
        mp_task_unregister(&mp__entry_##f);                                                                                \
    }                                                                                                                      \
    struct mp__needs_a_semicolon

/* MP_TASK_DECLARE(function, input type, output type): for a header, so that other files of the same program or library can
 * pass a task that one of its files registers. A task of another shared library is passed by what mp_task_find says, with
 * mp_pool_map_task and the like. */
#define MP_TASK_DECLARE(f, I, O)                                                                                           \
    MP__TASK_TYPES(f, I, O);                                                                                               \
    extern const mp_task mp__task_##f __attribute__((visibility("hidden")))

/* MP_FUNCTION(result, function, (type, argument), ...): registers a function as it is. `function_args` becomes a struct of
 * its arguments, the task's input. The result `void` is mp_none for callers. For a function without arguments write
 * MP_FUNCTION0(result, function): its input is mp_none. With MP_FUNCTION_DECLARE in a header, other files can pass the task; the
 * file that registers it says MP_FUNCTION_DEFINE instead, with the same arguments. For a header, MP_FUNCTION0's task is
 * MP_TASK_DECLARE(function, mp_none, result). */
#define MP_FUNCTION(R, f, ...)                                                                                             \
    MP__ARGUMENTS(f, __VA_ARGS__);                                                                                         \
    MP_FUNCTION_DEFINE(R, f, __VA_ARGS__)
#define MP_FUNCTION_DECLARE(R, f, ...)                                                                                     \
    MP__ARGUMENTS(f, __VA_ARGS__);                                                                                         \
    MP_TASK_DECLARE(f, f##_args, MP__RESULT(R))
#define MP_FUNCTION_DEFINE(R, f, ...)                                                                                      \
    MP__CONCAT(MP__FUNCTION_, MP__IS_VOID(R))(R, f, f##_args, (MP__PASS_ALL(f, __VA_ARGS__)))
#define MP_FUNCTION0(R, f) MP__CONCAT(MP__FUNCTION_, MP__IS_VOID(R))(R, f, mp_none, ())

#define MP__ARGUMENTS(f, ...)                                                                                              \
    typedef struct f##_args {                                                                                              \
        MP__EACH(MP__ARGUMENT, f, __VA_ARGS__)                                                                             \
    } f##_args;                                                                                                            \
    MP__SPAN_TYPEDEF(f##_args);                                                                                            \
    MP__UNUSED static const mp_field mp__fields_##f##_args[] = {MP__EACH(MP__ARGUMENT_FIELD, f##_args, __VA_ARGS__)};      \
    MP__DESCRIBE(f##_args)

#define MP__FUNCTION_0(R, f, A, arguments)                                                                                 \
    MP__TASK_TYPES(f, A, R);                                                                                               \
    static mp_status mp__run_##f(const void *mp__i, void *mp__o, mp_call *mp__c)                                           \
    {                                                                                                                      \
        MP__UNUSED const A *mp__in = mp__i;                                                                                \
        (void)mp__c;                                                                                                       \
        *(R *)mp__o = f arguments;                                                                                         \
        return MP_OK;                                                                                                      \
    }                                                                                                                      \
    MP__REGISTER(f, A, R)
#define MP__FUNCTION_1(R, f, A, arguments)                                                                                 \
    MP__TASK_TYPES(f, A, mp_none);                                                                                         \
    static mp_status mp__run_##f(const void *mp__i, void *mp__o, mp_call *mp__c)                                           \
    {                                                                                                                      \
        MP__UNUSED const A *mp__in = mp__i;                                                                                \
        (void)mp__c, (void)mp__o;                                                                                          \
        f arguments;                                                                                                       \
        return MP_OK;                                                                                                      \
    }                                                                                                                      \
    MP__REGISTER(f, A, mp_none)

#define MP__RESULT(R) MP__CONCAT(MP__RESULT_, MP__IS_VOID(R))(R)
#define MP__RESULT_0(R) R
#define MP__RESULT_1(R) mp_none
#define MP__IS_VOID(R) MP__SECOND(MP__CONCAT(MP__VOID_PROBE_, R), 0, 0)
#define MP__VOID_PROBE_void ~, 1
#define MP__ARGUMENT(f, pair) MP__ARGUMENT_ pair
#define MP__ARGUMENT_(T, name) T name;
#define MP__ARGUMENT_FIELD(A, pair) MP__ARGUMENT_FIELD_1(A, MP__UNPAREN pair)
#define MP__ARGUMENT_FIELD_1(A, ...) MP__ARGUMENT_FIELD_2(A, __VA_ARGS__)
#define MP__ARGUMENT_FIELD_2(A, T, name) {#name, offsetof(A, name), 0, &MP__TYPE(T)},
#define MP__PASS_ALL(f, ...) MP__PASS_FIRST(__VA_ARGS__, )
#define MP__PASS_FIRST(pair, ...) mp__in->MP__PASS_NAME pair MP__EACH(MP__PASS, f, __VA_ARGS__)
#define MP__PASS_NAME(T, name) name
#define MP__PASS(f, pair) MP__CONCAT(MP__PASS_, MP__IS_PAREN(pair))(pair)
#define MP__PASS_0(pair)
#define MP__PASS_1(pair) , mp__in->MP__PASS_NAME pair

#endif /* C */
#endif
