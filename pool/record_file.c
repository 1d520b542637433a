/* Records in files: 32 bytes of header, and one value in our own msgpack.
 *
 *     "mprecord"   u64 version   u64 size   u64 hash        little-endian; size and FNV-1a hash of what follows
 *     the struct `saved` below, as serial/FORMAT.md has it, all in line
 *
 * The hash finds what a disk or a copy did to the file; the decoder takes nothing on trust all the same, so that a file made up to
 * do harm is refused as well. Numbers that a reader would act on are checked behind it. A file is written under another name and
 * renamed: there is the old or the new one, whole. The backtrace goes along as text, for the programs it was made of may be gone
 * by the time somebody reads it. Any thread, no lock, no state. */
#include "pool/failure.h"
#include "pool/record.h"
#include "pool/system.h"
#include "serial/codec.h"
#include "serial/memory.h"
#include "serial/wire.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { VERSION = 1, HEADER = 32, FILE_MAX = 1024 * 1024 };
static const char magic[] = "mprecord";

/* Texts are bytes here: what a task, a host or a path is called need not be UTF-8. */
typedef struct saved {
    int status, os_error, worker, pid, signal, exit_code, attempt;
    uint64_t item;
    mp_bytes task, message, host, program, build_id;
    int64_t seconds;
    int64_t nanoseconds;
    double ran, cpu;
    uint64_t rss, address;
    bool by_oom, has_address, output_cut, errors_cut, at_open;
    mp_bytes output, errors, input, backtrace;
    int input_status;
    uint64_t input_size, type_hash;
} saved;
MP_TYPE(saved, status, os_error, worker, pid, signal, exit_code, attempt, item, task, message, host, program, build_id,
        seconds, nanoseconds, ran, cpu, rss, address, by_oom, has_address, output_cut, errors_cut, at_open, output, errors,
        input, backtrace, input_status, input_size, type_hash);

static uint64_t hash_of(const uint8_t *bytes, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

static mp_bytes bytes_of(const char *text)
{
    return (mp_bytes){text, strlen(text)};
}

/* --- writing -------------------------------------------------------------------------------------------------------------- */

static saved saved_of(const mp_record *record)
{
    const mp_error *error = &record->error;
    return (saved){.status = (int)error->status,
                   .os_error = error->os_error,
                   .worker = error->worker,
                   .pid = error->pid,
                   .signal = error->signal,
                   .exit_code = error->exit_code,
                   .attempt = error->attempt,
                   .item = error->item,
                   .task = bytes_of(error->task),
                   .message = bytes_of(error->message),
                   .host = bytes_of(record->host),
                   .program = bytes_of(record->program),
                   .build_id = bytes_of(record->build_id),
                   .seconds = record->when.tv_sec,
                   .nanoseconds = record->when.tv_nsec,
                   .ran = record->ran,
                   .cpu = record->cpu,
                   .rss = record->rss,
                   .address = record->address,
                   .by_oom = record->by_oom,
                   .has_address = record->has_address,
                   .output_cut = record->output_cut,
                   .errors_cut = record->errors_cut,
                   .at_open = record->at_open,
                   .output = {record->output, record->output_size},
                   .errors = {record->errors, record->errors_size},
                   .input = {record->input, record->input ? (size_t)record->input_size : 0},
                   .backtrace = bytes_of(mp_record_backtrace(record)),
                   .input_status = (int)record->input_status,
                   .input_size = record->input_size,
                   .type_hash = record->type_hash};
}

static bool write_all(int fd, const uint8_t *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        struct iovec piece = {(void *)(uintptr_t)(bytes + done), size - done};
        ssize_t wrote = mp__system.writev(fd, &piece, 1);
        if (wrote < 0 && errno != EINTR)
            return false;
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return true;
}

/* Under another name, on the disk, then under its own. */
static mp_status write_file(const char *path, const mp__buffer *bytes, mp_error *error)
{
    char other[4096];
    struct stat about;
    if (stat(path, &about) == 0 && !S_ISREG(about.st_mode))
        return mp__failure(error, MP_EINVAL, "'%s' is not a regular file: a record needs one of its own", path);
    if ((size_t)snprintf(other, sizeof other, "%s.XXXXXX", path) >= sizeof other)
        return mp__system_failure(error, ENAMETOOLONG, "cannot write a record");
    int fd = mkostemp(other, O_CLOEXEC);
    if (fd < 0)
        return mp__system_failure(error, errno, "cannot write the record '%s'", path);
    bool written = write_all(fd, bytes->data, bytes->size) && fsync(fd) == 0;
    int os_error = errno;
    if (close(fd) < 0 && written) {
        os_error = errno;
        written = false;
    }
    if (written && rename(other, path) == 0)
        return mp__no_failure(error);
    if (written)
        os_error = errno;
    unlink(other);
    return mp__system_failure(error, os_error, "cannot write the record '%s'", path);
}

mp_status mp_record_save(const mp_record *record, const char *path, mp_error *error)
{
    if (!record || !path || !*path)
        return mp__failure(error, MP_EINVAL, "%s", record ? "no path to save a record at" : "no record to save");
    mp__buffer out = {0};
    mp__fault fault = {0};
    saved value = saved_of(record);
    mp_status status = MP_ENOMEM;
    if (mp__buffer_reserve(&out, HEADER)) {
        memset(out.data, 0, HEADER);
        out.size = HEADER;
        status = mp__encode(&out, &MP__TYPE(saved), &value, NULL, &fault);
    }
    if (status) {
        mp__failure(error, status, "cannot save a record: %s", fault.message[0] ? fault.message : mp_status_text(status));
    } else {
        uint64_t words[] = {VERSION, out.size - HEADER, hash_of(out.data + HEADER, out.size - HEADER)};
        memcpy(out.data, magic, 8);
        memcpy(out.data + 8, words, sizeof words);
        status = write_file(path, &out, error);
    }
    mp__buffer_fini(&out);
    return status;
}

/* --- reading -------------------------------------------------------------------------------------------------------------- */

static mp_status damaged(const char *path, const char *how, mp_error *error)
{
    return mp__failure(error, MP_EFORMAT, "'%.200s' %s", path, how);
}

/* All that is in it, or as much as shows that it is too large. */
static mp_status read_all(int fd, const char *path, mp__buffer *into, mp_error *error)
{
    while (into->size <= FILE_MAX) {
        if (!mp__buffer_reserve(into, 1))
            return mp__failure(error, MP_ENOMEM, "no memory to read a record");
        ssize_t got = mp__system.read(fd, into->data + into->size, into->capacity - into->size);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return mp__system_failure(error, errno, "cannot read the record '%.200s'", path);
        into->size += got > 0 ? (size_t)got : 0;
    }
    return MP_OK;
}

static mp_status read_file(const char *path, mp__buffer *into, mp_error *error)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return mp__system_failure(error, errno, "cannot read the record '%.200s'", path);
    bool is_file = fstat(fd, &about) < 0 || S_ISREG(about.st_mode);
    mp_status status = is_file ? read_all(fd, path, into, error) : damaged(path, "is no regular file, so no record", error);
    close(fd);
    return status;
}

static mp_status check_file(const char *path, const mp__buffer *file, mp_error *error)
{
    uint64_t words[3];
    if (file->size < HEADER || memcmp(file->data, magic, 8) != 0)
        return damaged(path, "is no record of millpond's", error);
    memcpy(words, file->data + 8, sizeof words);
    if (words[0] != VERSION)
        return damaged(path, "is a record of another version of millpond", error);
    if (file->size > FILE_MAX)
        return mp__failure(error, MP_ELIMIT, "'%.200s' is too large to be a record", path);
    if (words[1] != file->size - HEADER)
        return damaged(
            path, words[1] > file->size - HEADER ? "is a record that was cut short" : "is a record with more behind it",
            error);
    if (words[2] != hash_of(file->data + HEADER, file->size - HEADER))
        return damaged(path, "is a damaged record", error);
    return MP_OK;
}

/* A text that goes into an array of fixed size, or would be taken for one. */
static bool is_text(const mp_bytes *bytes, size_t room)
{
    return bytes->size < room && !memchr(bytes->data ? bytes->data : "", 0, bytes->size);
}

/* What is in it is true to the struct's own promises. */
static bool is_sound(const saved *from)
{
    return is_text(&from->task, MP_NAME_MAX) && is_text(&from->message, MP_MESSAGE_MAX) && is_text(&from->host, FILE_MAX) &&
           is_text(&from->program, FILE_MAX) && is_text(&from->build_id, FILE_MAX) && is_text(&from->backtrace, FILE_MAX) &&
           from->status > MP_OK && from->input_status >= MP_OK && from->nanoseconds >= 0 &&
           from->nanoseconds < 1000000000 && from->attempt >= 0 &&
           (from->input_status ? from->input.size == 0 : from->input.size == from->input_size);
}

static void copy_error(const saved *from, mp_error *error)
{
    *error = (mp_error){.status = (mp_status)from->status,
                        .os_error = from->os_error,
                        .item = from->item,
                        .worker = from->worker,
                        .pid = from->pid,
                        .signal = from->signal,
                        .exit_code = from->exit_code,
                        .attempt = from->attempt};
    memcpy(error->task, from->task.data ? from->task.data : "", from->task.size);
    memcpy(error->message, from->message.data ? from->message.data : "", from->message.size);
}

static const char *put(char **at, const mp_bytes *bytes)
{
    return mp__record_put(at, bytes->data, bytes->size);
}

static mp__record *record_of(const saved *from)
{
    size_t memory = from->host.size + from->program.size + from->build_id.size + from->output.size + from->errors.size +
                    from->input.size + 6;
    mp__record *made = mp__record_new(memory);
    char *backtrace = mp__memory.malloc(from->backtrace.size + 1);
    if (!made || !backtrace) {
        free(made);
        free(backtrace);
        return NULL;
    }
    char *at = made->memory;
    made->record = (mp_record){.host = put(&at, &from->host),
                               .program = put(&at, &from->program),
                               .build_id = put(&at, &from->build_id),
                               .when = {from->seconds, from->nanoseconds},
                               .ran = from->ran,
                               .cpu = from->cpu,
                               .rss = from->rss,
                               .by_oom = from->by_oom,
                               .has_address = from->has_address,
                               .address = from->address,
                               .output_cut = from->output_cut,
                               .errors_cut = from->errors_cut,
                               .output = put(&at, &from->output),
                               .errors = put(&at, &from->errors),
                               .output_size = from->output.size,
                               .errors_size = from->errors.size,
                               .input_status = (mp_status)from->input_status,
                               .input = from->input_status ? NULL : put(&at, &from->input),
                               .input_size = from->input_size,
                               .type_hash = from->type_hash,
                               .at_open = from->at_open};
    copy_error(from, &made->record.error);
    char *end = backtrace;
    put(&end, &from->backtrace);
    atomic_init(&made->backtrace, backtrace);
    return made;
}

static mp_status parse(const char *path, const mp__buffer *file, const mp_record **record, mp_error *error)
{
    mp__fault fault = {0};
    mp__buffer scratch = {0};
    saved from;
    mp__frame frame = {.data = file->data + HEADER, .size = file->size - HEADER, .control = file->size - HEADER};
    mp_status status = mp__decode_input(&MP__TYPE(saved), &frame, &from, &scratch, &fault);
    if (status == MP_OK && is_sound(&from)) {
        mp__record *made = record_of(&from);
        *record = made ? &made->record : NULL;
        status = made ? mp__no_failure(error) : mp__failure(error, MP_ENOMEM, "no memory for a record");
    } else if (status == MP_ENOMEM) {
        mp__failure(error, status, "no memory to read a record");
    } else {
        status = damaged(path, "is a damaged record", error);
    }
    mp__buffer_fini(&scratch);
    return status;
}

mp_status mp_record_load(const char *path, const mp_record **record, mp_error *error)
{
    if (!record)
        return mp__failure(error, MP_EINVAL, "nowhere to put the record");
    *record = NULL;
    if (!path || !*path)
        return mp__failure(error, MP_EINVAL, "no path to load a record from");
    mp__buffer file = {0};
    mp_status status = read_file(path, &file, error);
    if (!status)
        status = check_file(path, &file, error);
    if (!status)
        status = parse(path, &file, record, error);
    mp__buffer_fini(&file);
    return status;
}
