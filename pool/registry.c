/* The tasks of this program, by name. Constructors that MP_TASK leaves in users' files add to one list before main; a pool
 * copies it, sorted, when it is opened, so that parent and workers agree on an index for each.
 *
 * Any thread; one lock, held for the walk of a short list, never while calling anything of the user's. Nothing is allocated:
 * entries are the users'. What a constructor cannot report (a second task of the same name) is found again, and said, when
 * the task is used. */
#include "pool/registry.h"
#include "pool/failure.h"
#include "pool/forks.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t *const lock = &mp__forks.kept[MP__TASKS_LOCK]; /* guards the list */
static mp_task_entry *entries;

static const mp_task *find_locked(const char *name)
{
    for (mp_task_entry *entry = entries; entry; entry = entry->next)
        if (!strcmp(entry->task->name, name))
            return entry->task;
    return NULL;
}

static mp_status check_type(const mp_task *task, const mp_type *type, const char *which, mp_error *error)
{
    mp__fault fault = {0};
    if (mp__type_check(type, &fault) == MP_OK)
        return MP_OK;
    char text[sizeof fault.path + sizeof fault.message + 32];
    mp__fault_text(&fault, text, sizeof text);
    return mp__failure(error, fault.status, "the %s type of task '%s' cannot be used: %s", which, task->name, text);
}

static mp_status check_task(const mp_task *task, mp_error *error)
{
    if (!task)
        return mp__failure(error, MP_EINVAL,
                           "no task: pass the name of a function for which there is an MP_TASK or MP_FUNCTION");
    if (task->layout != sizeof *task)
        return mp__failure(error, MP_EINVAL,
                           "a task was compiled with other headers than this library (mp_task of %u bytes, "
                           "not %zu): rebuild the program with the installed headers",
                           task->layout, sizeof *task);
    if (!task->name || !*task->name || !task->run)
        return mp__failure(error, MP_EINVAL, "a task has no %s: describe it with MP_TASK", task->run ? "name" : "function");
    if (strlen(task->name) >= MP_NAME_MAX)
        return mp__failure(error, MP_EINVAL, "the task name '%.20s...' is longer than %d bytes: shorten it", task->name,
                           MP_NAME_MAX - 1);
    mp_status status = check_type(task, task->input, "input", error);
    return status ? status : check_type(task, task->output, "output", error);
}

static mp_status duplicate(mp_error *error, const mp_task *task, const mp_task *other)
{
    return mp__failure(error, MP_EDUPLICATE, "two tasks are named '%s' (%s:%d and %s:%d): rename one of them", task->name,
                       other->file, other->line, task->file, task->line);
}

mp_status mp_task_register(mp_task_entry *entry, mp_error *error)
{
    if (!entry)
        return mp__failure(error, MP_EINVAL, "no entry to register a task with");
    mp_status status = check_task(entry->task, error);
    if (status)
        return status;
    pthread_mutex_lock(lock);
    const mp_task *other = find_locked(entry->task->name);
    if (!other) {
        entry->next = entries;
        entries = entry;
    }
    pthread_mutex_unlock(lock);
    if (other && other != entry->task)
        return duplicate(error, entry->task, other);
    return mp__no_failure(error);
}

void mp_task_unregister(mp_task_entry *entry)
{
    pthread_mutex_lock(lock);
    for (mp_task_entry **at = &entries; *at; at = &(*at)->next)
        if (*at == entry) {
            *at = entry->next;
            break;
        }
    pthread_mutex_unlock(lock);
}

const mp_task *mp_task_find(const char *name)
{
    if (!name)
        return NULL;
    pthread_mutex_lock(lock);
    const mp_task *task = find_locked(name);
    pthread_mutex_unlock(lock);
    return task;
}

/* --- hashes: FNV-1a, 64 bits -------------------------------------------------------------------------------------------- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t hash_number(uint64_t hash, uint64_t number)
{
    return hash_bytes(hash, &number, sizeof number);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

/* It was checked when its task was registered: this ends. */
static uint64_t hash_type(uint64_t hash, const mp_type *type)
{
    hash = hash_number(hash, type->kind);
    hash = hash_number(hash, type->size);
    hash = hash_number(hash, type->align);
    if (type->kind == MP__SPAN_OF)
        return hash_type(hash, type->element);
    if (type->kind != MP__STRUCT)
        return hash;
    hash = hash_number(hash, type->count);
    for (const mp_field *field = type->fields; field < type->fields + type->count; field++) {
        hash = hash_text(hash, field->name);
        hash = hash_number(hash, field->offset);
        hash = hash_number(hash, field->count);
        hash = hash_type(hash, field->type);
    }
    return hash;
}

static const uint64_t hash_of_nothing = 0xcbf29ce484222325u;

uint64_t mp__task_hash(const mp_task *task)
{
    return hash_type(hash_type(hash_of_nothing, task->input), task->output);
}

uint64_t mp__task_table_hash(const mp__task_table *table)
{
    uint64_t hash = hash_of_nothing;
    for (size_t i = 0; i < table->count; i++)
        hash = hash_number(hash_text(hash, table->rows[i].name), table->rows[i].hash);
    return hash;
}

/* --- tables -------------------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const mp__task_row *)a)->name, ((const mp__task_row *)b)->name);
}

mp_status mp__task_table_take(mp__task_table *table)
{
    *table = (mp__task_table){0};
    pthread_mutex_lock(lock);
    size_t count = 0;
    for (mp_task_entry *entry = entries; entry; entry = entry->next)
        count++;
    table->rows = mp__memory.malloc((count ? count : 1) * sizeof *table->rows);
    for (mp_task_entry *entry = table->rows ? entries : NULL; entry; entry = entry->next) {
        mp__task_row *row = &table->rows[table->count++];
        row->task = entry->task;
        row->hash = mp__task_hash(entry->task);
        strcpy(row->name, entry->task->name); /* its length was checked when it was registered */
        row->has_pointer = mp__type_has_pointer(entry->task->input) || mp__type_has_pointer(entry->task->output);
    }
    pthread_mutex_unlock(lock);
    if (!table->rows)
        return MP_ENOMEM;
    qsort(table->rows, table->count, sizeof *table->rows, by_name);
    return MP_OK;
}

void mp__task_table_fini(mp__task_table *table)
{
    free(table->rows);
    *table = (mp__task_table){0};
}

/* "a, b, c": as many as fit. */
static void names_of(const mp__task_table *table, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < table->count && used + MP_NAME_MAX + 8 < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", table->rows[i].name);
    if (!table->count)
        snprintf(text, size, "none");
}

static mp_status missing(const mp__task_table *table, const mp_task *task, mp_error *error)
{
    mp_status status = check_task(task, error);
    if (status)
        return status;
    const mp_task *registered = mp_task_find(task->name);
    if (registered && registered != task)
        return duplicate(error, task, registered);
    if (registered)
        return mp__failure(error, MP_EUNREGISTERED,
                           "task '%s' was registered after this pool was opened, so its workers do not "
                           "know it: open the pool after loading what registers tasks",
                           task->name);
    char names[200];
    names_of(table, names, sizeof names);
    return mp__failure(error, MP_EUNREGISTERED,
                       "task '%s' is not registered (registered: %s). If it stands in a static archive, "
                       "link that with link_whole, or call mp_task_register",
                       task->name, names);
}

static int name_of_row(const void *name, const void *row)
{
    return strcmp(name, ((const mp__task_row *)row)->name);
}

mp_status mp__task_table_find(const mp__task_table *table, const mp_task *task, uint32_t *index, mp_error *error)
{
    if (task && task->layout == sizeof *task && task->name) {
        const mp__task_row *row = bsearch(task->name, table->rows, table->count, sizeof *table->rows, name_of_row);
        if (row && row->task == task) {
            *index = (uint32_t)(row - table->rows);
            return MP_OK;
        }
    }
    return missing(table, task, error);
}
