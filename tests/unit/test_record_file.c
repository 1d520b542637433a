/* Records in files: what is written comes back, and what is not one is refused. */
#include "pool/failure.h"
#include "pool/record.h"
#include "pool/system.h"
#include "serial/buffer.h"
#include "tests/lib/check.h"
#include "tests/lib/says.h"
#include <errno.h>
#include <fcntl.h>
#include <millpond.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mp_status echo(const mp_str *in, mp_str *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo, mp_str, mp_str);

static char folder[32], path[64];

static void make_folder(void)
{
    strcpy(folder, "/tmp/record.XXXXXX");
    cr_assert(ne(ptr, mkdtemp(folder), NULL));
    snprintf(path, sizeof path, "%s/record", folder);
}

/* Nothing else may be in it. */
static void remove_folder(void)
{
    unlink(path);
    cr_assert(eq(int, rmdir(folder), 0));
}

TestSuite(record_file, .timeout = 60, .init = make_folder, .fini = remove_folder);

static const mp_record *a_record(void)
{
    static const char frames[] = "0x10 /no/where+0x5\n";
    mp_error error;
    (void)mp__failure(&error, MP_ECRASHED, "it crashed");
    error = (mp_error){.status = MP_ECRASHED,
                       .os_error = 5,
                       .item = 17,
                       .worker = 3,
                       .pid = 4711,
                       .signal = 11,
                       .exit_code = -1,
                       .attempt = 2};
    strcpy(error.task, "echo");
    strcpy(error.message, "it crashed \xff");
    mp__evidence evidence = {.address = 0x18,
                             .has_address = true,
                             .by_oom = true,
                             .cpu_ns = 1500000000,
                             .rss_bytes = 1 << 20,
                             .ran_ns = 2500000000,
                             .frames = frames,
                             .frames_size = sizeof frames - 1,
                             .out = "sa\0id",
                             .out_size = 5,
                             .err = "cried\n",
                             .err_size = 6,
                             .err_cut = true};
    mp_str input = mp_str_of("hello");
    mp__record_keep(&error, &mp__task_echo, &input, &evidence);
    return mp_error_record(&error);
}

static mp__buffer read_back(void)
{
    mp__buffer bytes = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0 && mp__buffer_reserve(&bytes, 4096));
    bytes.size = (size_t)read(fd, bytes.data, 4096);
    close(fd);
    return bytes;
}

static void write_bytes(const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

CHECK(record_file, save_and_load__any_record__is_the_same)
{
    const mp_record *old = a_record(), *loaded;
    mp_error error;
    cr_assert(eq(int, mp_record_save(old, path, &error), MP_OK), "%s", error.message);
    cr_assert(eq(int, mp_record_load(path, &loaded, &error), MP_OK), "%s", error.message);
    mp_error expected = old->error;
    expected.record = 0;
    cr_assert_eq(memcmp(&expected, &loaded->error, sizeof expected), 0);
    cr_assert(eq(str, (char *)loaded->host, (char *)old->host));
    cr_assert(eq(str, (char *)loaded->program, (char *)old->program));
    cr_assert(eq(str, (char *)loaded->build_id, (char *)old->build_id));
    cr_assert(eq(sz, loaded->output_size, 5));
    cr_assert_eq(memcmp(loaded->output, "sa\0id", 6), 0);
    cr_assert(eq(str, (char *)loaded->errors, "cried\n"));
    cr_assert_eq(memcmp(&loaded->when, &old->when, sizeof old->when), 0);
    cr_assert(loaded->by_oom && loaded->has_address && loaded->errors_cut && !loaded->output_cut);
    cr_assert(loaded->address == 0x18 && loaded->rss == 1 << 20 && loaded->type_hash == old->type_hash);
    cr_assert(loaded->input_size == old->input_size && !memcmp(loaded->input, old->input, old->input_size));
    cr_assert(eq(dbl, loaded->ran, 2.5));
    cr_assert(eq(dbl, loaded->cpu, 1.5));
    cr_assert(eq(str, (char *)mp_record_backtrace(loaded), "#0 /no/where+0x5\n"));
    char one[4096], other[4096];
    mp_record_format(old, one, sizeof one);
    mp_record_format(loaded, other, sizeof other);
    cr_assert(eq(str, one, other));
    struct stat about;
    cr_assert(stat(path, &about) == 0 && (about.st_mode & 0777) == 0600);
    mp_record_free(&old);
    mp_record_free(&loaded);
}

CHECK(record_file, save__over_an_old_one__replaces_it)
{
    const mp_record *record = a_record(), *loaded;
    write_bytes("old", 3);
    cr_assert(eq(int, mp_record_save(record, path, NULL), MP_OK));
    cr_assert(eq(int, mp_record_load(path, &loaded, NULL), MP_OK));
    mp_record_free(&loaded);
    mp_record_free(&record);
}

static int refusals;
static ssize_t refuse_writev(int fd, const struct iovec *pieces, int count)
{
    (void)fd, (void)pieces, (void)count;
    if (refusals++ == 0) {
        errno = EINTR;
        return -1;
    }
    errno = ENOSPC;
    return -1;
}

CHECK(record_file, save__disk_full__leaves_the_old_file_and_no_other)
{
    const mp_record *record = a_record();
    mp_error error;
    write_bytes("old", 3);
    mp__system_calls usual = mp__system;
    mp__system.writev = refuse_writev;
    mp_status status = mp_record_save(record, path, &error);
    mp__system = usual;
    cr_assert(eq(int, status, MP_ESYSTEM));
    cr_assert(eq(int, error.os_error, ENOSPC));
    cr_assert(says(&error, path), "%s", error.message);
    mp__buffer bytes = read_back();
    cr_assert(bytes.size == 3 && !memcmp(bytes.data, "old", 3));
    mp__buffer_fini(&bytes);
    mp_record_free(&record);
}

CHECK(record_file, save__not_possible__says_why)
{
    const mp_record *record = a_record();
    mp_error error;
    cr_assert(eq(int, mp_record_save(NULL, path, &error), MP_EINVAL));
    cr_assert(eq(int, mp_record_save(record, NULL, &error), MP_EINVAL));
    cr_assert(eq(int, mp_record_save(record, "/nowhere/at/all", &error), MP_ESYSTEM));
    cr_assert(eq(int, error.os_error, ENOENT));
    cr_assert(eq(int, mp_record_save(record, folder, &error), MP_EINVAL));
    cr_assert(says(&error, "regular"), "%s", error.message);
    mp_record_free(&record);
}

/* ---- what is no record ---- */

enum { STEP = 7 }; /* not each bit of all that follows the header and the numbers, but each of some byte */

static bool refused(mp_error *error)
{
    const mp_record *loaded = (const mp_record *)&loaded;
    mp_status status = mp_record_load(path, &loaded, error);
    return status != MP_OK && !loaded && error->status == status && error->message[0];
}

CHECK(record_file, load__other_files__says_what_they_are)
{
    mp_error error;
    cr_assert(refused(&error) && error.status == MP_ESYSTEM && error.os_error == ENOENT);
    write_bytes("", 0);
    cr_assert(refused(&error) && error.status == MP_EFORMAT && says(&error, "is no record"), "%s", error.message);
    write_bytes("#!/bin/sh\necho something that is longer than a header\n", 54);
    cr_assert(refused(&error) && error.status == MP_EFORMAT && says(&error, "is no record"), "%s", error.message);
    const mp_record *loaded;
    cr_assert(eq(int, mp_record_load(folder, &loaded, &error), MP_EFORMAT));
    cr_assert(eq(int, mp_record_load("/dev/zero", &loaded, &error), MP_EFORMAT));
    cr_assert(eq(int, mp_record_load(NULL, &loaded, &error), MP_EINVAL));
    cr_assert(eq(int, mp_record_load(path, NULL, &error), MP_EINVAL));
}

static mp__buffer saved_bytes(void)
{
    const mp_record *record = a_record();
    cr_assert(eq(int, mp_record_save(record, path, NULL), MP_OK));
    mp_record_free(&record);
    return read_back();
}

CHECK(record_file, load__cut_anywhere_or_with_more__is_refused)
{
    mp__buffer bytes = saved_bytes();
    mp_error error;
    for (size_t size = 0; size < bytes.size; size++) {
        write_bytes(bytes.data, size);
        cr_assert(refused(&error) && error.status == MP_EFORMAT, "at %zu: %s", size, error.message);
    }
    write_bytes(bytes.data, bytes.size + 1);
    cr_assert(refused(&error) && says(&error, "more behind"), "%s", error.message);
    mp__buffer_fini(&bytes);
}

CHECK(record_file, load__any_bit_flipped__is_refused)
{
    mp__buffer bytes = saved_bytes();
    mp_error error;
    for (size_t bit = 0; bit < 8 * bytes.size; bit += bit < 300 ? 1 : STEP) {
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_bytes(bytes.data, bytes.size);
        cr_assert(refused(&error) && error.status == MP_EFORMAT, "bit %zu: %s", bit, error.message);
        bytes.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    mp__buffer_fini(&bytes);
}

/* Whoever makes up a file makes up its hash too. The oracle: refused, or a record that can be used. */
CHECK(record_file, load__bits_flipped_and_the_hash_made_to_fit__is_refused_or_sound)
{
    mp__buffer bytes = saved_bytes();
    int loaded_so_often = 0;
    for (size_t bit = 0; bit < 8 * (bytes.size - 32); bit += bit < 300 ? 1 : STEP) {
        bytes.data[32 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        uint64_t hash = 0xcbf29ce484222325u;
        for (size_t i = 32; i < bytes.size; i++)
            hash = (hash ^ bytes.data[i]) * 0x100000001b3u;
        memcpy(bytes.data + 24, &hash, 8);
        write_bytes(bytes.data, bytes.size);
        bytes.data[32 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        const mp_record *record;
        mp_error error;
        if (mp_record_load(path, &record, &error) != MP_OK) {
            cr_assert(error.status == MP_EFORMAT && error.message[0]);
            continue;
        }
        char text[8192];
        size_t length = mp_record_format(record, text, sizeof text);
        cr_assert(length > 0 && strlen(mp_record_backtrace(record)) < 100);
        cr_assert_neq((int)record->error.status, 0);
        mp_record_free(&record);
        loaded_so_often++;
    }
    cr_assert_gt(loaded_so_often, 0);
    mp__buffer_fini(&bytes);
}

CHECK(record_file, load__another_version__says_so)
{
    mp__buffer bytes = saved_bytes();
    mp_error error;
    bytes.data[8] = 2;
    write_bytes(bytes.data, bytes.size);
    cr_assert(refused(&error) && says(&error, "another version"), "%s", error.message);
    mp__buffer_fini(&bytes);
}
