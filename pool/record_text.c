/* How a record reads: the error's line, and indented below it what else is known. mp_perror is here for that reason.
 *
 * Decides the order and what is left out: whatever is not known, and for mp_perror all but the last lines of what was written.
 * Owns nothing but the text of a backtrace, which is put into its record when first asked for; if two threads ask at the same time,
 * the second one's text is thrown away. Any thread, no lock. mp_perror writes everything at once, so that what threads print does
 * not mix, and takes no memory but for the backtrace: without any it still prints the rest. */
#include "pool/record.h"
#include "pool/symbols.h"
#include "serial/readable.h"
#include "serial/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERROR_MAX = 1024, PERROR_MAX = 24 * 1024, PERROR_LINES = 10, PERROR_BYTES = 1500, PERROR_INPUT = 200 };

static const char indent[] = "    ";

const char *mp_record_backtrace(const mp_record *given)
{
    mp__record *record = (mp__record *)(uintptr_t)given;
    char *text = atomic_load_explicit(&record->backtrace, memory_order_acquire);
    if (text || record->frames_size == 0)
        return text ? text : "";
    char *made = mp__symbols_text(record->frames, record->frames_size), *none = NULL;
    if (!made)
        return "";
    if (atomic_compare_exchange_strong(&record->backtrace, &none, made))
        return made;
    free(made);
    return none; /* which is what another thread has put there */
}

/* --- parts --------------------------------------------------------------------------------------------------------------- */

static void print_error(mp__sink *sink, const mp_error *error)
{
    char line[ERROR_MAX];
    (void)mp_error_format(error, line, sizeof line);
    for (char *at = line; *at; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    mp__sink_print(sink, "%s\n", line);
}

static void print_size(mp__sink *sink, uint64_t bytes)
{
    if (bytes < 10240)
        mp__sink_print(sink, "%" PRIu64 " byte%s", bytes, bytes == 1 ? "" : "s");
    else if (bytes < 10240 * 1024)
        mp__sink_print(sink, "%.1f KiB", (double)bytes / 1024);
    else
        mp__sink_print(sink, "%.1f MiB", (double)bytes / (1024 * 1024));
}

static void print_input(mp__sink *sink, const mp_record *record, size_t most)
{
    mp__sink_print(sink, "%sinput: ", indent);
    if (record->input_status == MP_OK) {
        mp__readable(sink, record->input, record->input_size, most);
        mp__sink_print(sink, " (");
        print_size(sink, record->input_size);
        mp__sink_print(sink, ")\n");
    } else if (record->input_status == MP_ELIMIT) {
        mp__sink_print(sink, "not kept: it is larger than %d KiB", MP_RECORD_INPUT_MAX / 1024);
        if (record->input_size > 0) {
            mp__sink_print(sink, ", it has ");
            print_size(sink, record->input_size);
        }
        mp__sink_print(sink, "\n");
    } else if (record->input_status == MP_ETYPE) {
        mp__sink_print(sink, "not kept: there is an address in it (mp_ptr)\n");
    } else {
        mp__sink_print(sink, "not kept: %s\n", mp_status_text(record->input_status));
    }
}

/* "here: survey on node7, process 4711, attempt 2, 2031-04-01 12:00:00 UTC, after 1.2 s" */
static void print_where(mp__sink *sink, const mp_record *record)
{
    const mp_error *error = &record->error;
    char when[40] = "";
    struct tm day;
    if (gmtime_r(&record->when.tv_sec, &day))
        (void)strftime(when, sizeof when, ", %Y-%m-%d %H:%M:%S UTC", &day);
    mp__sink_print(sink, "%swhere: %s%s%s", indent, record->program[0] ? record->program : "a program",
                   record->host[0] ? " on " : "", record->host);
    if (error->pid > 0)
        mp__sink_print(sink, ", process %d", (int)error->pid);
    if (error->attempt > 0)
        mp__sink_print(sink, ", attempt %d", error->attempt);
    mp__sink_print(sink, "%s", when);
    if (record->ran > 0)
        mp__sink_print(sink, ", after %.3g s", record->ran);
    mp__sink_print(sink, "\n");
}

static void print_usage(mp__sink *sink, const mp_record *record)
{
    if (record->cpu > 0 || record->rss > 0) {
        mp__sink_print(sink, "%sits worker had used", indent);
        if (record->cpu > 0)
            mp__sink_print(sink, " %.3g s of CPU", record->cpu);
        if (record->rss > 0) {
            mp__sink_print(sink, record->cpu > 0 ? " and " : " ");
            print_size(sink, record->rss);
            mp__sink_print(sink, " of memory");
        }
        mp__sink_print(sink, "\n");
    }
    if (record->by_oom)
        mp__sink_print(sink, "%sthe kernel killed it because memory ran out\n", indent);
    if (record->has_address)
        mp__sink_print(sink, "%sit crashed over the address 0x%" PRIxPTR "\n", indent, record->address);
}

static void print_backtrace(mp__sink *sink, const mp_record *record)
{
    for (const char *line = mp_record_backtrace(record); *line;) {
        size_t length = strcspn(line, "\n");
        mp__sink_print(sink, "%s%.*s\n", indent, (int)length, line);
        line += length + (line[length] == '\n');
    }
}

/* Where the last `lines` lines of a text begin, but not more than `most` bytes before its end. */
static size_t last_lines(const char *text, size_t size, size_t lines, size_t most)
{
    size_t at = size;
    for (; at > 0 && size - at < most; at--)
        if (text[at - 1] == '\n' && at < size && lines-- == 1)
            break;
    return at;
}

/* What cannot be printed is not: it may be anything, and goes to a terminal. */
static void print_lines(mp__sink *sink, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        mp__sink_print(sink, "%s| ", indent);
        for (; at < size && text[at] != '\n'; at++) {
            unsigned char byte = (unsigned char)text[at];
            char shown = (byte < 0x20 && byte != '\t') || byte == 0x7f ? '?' : (char)byte;
            mp__sink_bytes(sink, &shown, 1);
        }
        at++;
        mp__sink_print(sink, "\n");
    }
}

static void print_written(mp__sink *sink, const char *what, const char *text, size_t size, bool cut, size_t lines,
                          size_t most)
{
    if (size == 0)
        return;
    size_t from = last_lines(text, size, lines, most);
    mp__sink_print(sink, "%s%s%s:\n", indent, from > 0 || cut ? "the end of its " : "its ", what);
    print_lines(sink, text + from, size - from);
}

/* --- the whole ----------------------------------------------------------------------------------------------------------- */

static void print_first(mp__sink *sink, const mp_record *record, size_t most_input)
{
    print_input(sink, record, most_input);
    print_where(sink, record);
    print_usage(sink, record);
    print_backtrace(sink, record);
}

size_t mp_record_format(const mp_record *record, char *text, size_t size)
{
    mp__sink sink = mp__sink_over(text, size);
    print_error(&sink, &record->error);
    print_first(&sink, record, SIZE_MAX / 2);
    print_written(&sink, "standard output", record->output, record->output_size, record->output_cut, SIZE_MAX, SIZE_MAX);
    print_written(&sink, "standard error", record->errors, record->errors_size, record->errors_cut, SIZE_MAX, SIZE_MAX);
    return sink.length;
}

void mp_perror(const mp_error *error)
{
    char text[PERROR_MAX];
    mp__sink sink = mp__sink_over(text, sizeof text);
    print_error(&sink, error);
    const mp_record *record = mp_error_record(error);
    if (record) {
        print_first(&sink, record, PERROR_INPUT);
        print_written(&sink, "standard error", record->errors, record->errors_size, record->errors_cut, PERROR_LINES,
                      PERROR_BYTES);
        if (record->input_status == MP_OK)
            mp__sink_print(&sink, "%sagain: mp_record_save it to a FILE, then run: millpond-replay --gdb FILE\n", indent);
    }
    (void)fputs(text, stderr);
    mp_record_free(&record);
}
