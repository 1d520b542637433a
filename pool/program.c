/* What this program is: looked up once, by a constructor, for later its file may have another name, or be another.
 *
 * Decides where a build id is found: in the notes of a loaded program's headers, or of a file's. Owns one struct that is written
 * before main and then only read. What cannot be found out is left empty; nothing here fails anything. */
#include "pool/program.h"
#include "pool/system.h"
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* fixed before main */
static mp__program this_program;
/* atomic */
static _Atomic bool at_open;

/* Note segments are names and descriptions one after the other, each padded to four bytes. */
static bool find_build_id(const uint8_t *notes, size_t size, char build_id[MP__BUILD_ID_MAX])
{
    ElfW(Nhdr) note;
    for (size_t at = 0; size - at >= sizeof note;) {
        memcpy(&note, notes + at, sizeof note);
        size_t name = at + sizeof note, description = name + ((note.n_namesz + 3ul) & ~3ul);
        size_t end = description + ((note.n_descsz + 3ul) & ~3ul);
        if (end > size)
            return false;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && !memcmp(notes + name, "GNU", 4)) {
            for (size_t i = 0; i < note.n_descsz && 2 * i + 2 < MP__BUILD_ID_MAX; i++)
                snprintf(build_id + 2 * i, 3, "%02x", notes[description + i]);
            return true;
        }
        at = end;
    }
    return false;
}

/* The first one that is told about is the program itself. */
static int look_at_program(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const uint8_t *notes = (const uint8_t *)(info->dlpi_addr + header->p_vaddr); // NOLINT(performance-no-int-to-ptr)
        if (header->p_type == PT_NOTE && find_build_id(notes, header->p_memsz, this_program.build_id))
            break;
    }
    return 1;
}

__attribute__((constructor(101))) static void look_at_this(void)
{
    ssize_t length = readlink("/proc/self/exe", this_program.path, sizeof this_program.path - 1);
    this_program.path[length > 0 ? length : 0] = 0;
    if (gethostname(this_program.host, sizeof this_program.host - 1) < 0)
        this_program.host[0] = 0;
    dl_iterate_phdr(look_at_program, NULL);
}

const mp__program *mp__program_this(void)
{
    return &this_program;
}

void mp__program_opens(void)
{
    atomic_store_explicit(&at_open, true, memory_order_relaxed);
}

bool mp__program_at_open(void)
{
    return atomic_load_explicit(&at_open, memory_order_relaxed);
}

static void look_at_file(const uint8_t *file, size_t size, char build_id[MP__BUILD_ID_MAX])
{
    ElfW(Ehdr) whole;
    ElfW(Phdr) header;
    memcpy(&whole, file, sizeof whole);
    for (size_t i = 0; i < whole.e_phnum; i++) {
        size_t at = whole.e_phoff + i * sizeof header;
        if (at > size || size - at < sizeof header)
            return;
        memcpy(&header, file + at, sizeof header);
        if (header.p_type == PT_NOTE && header.p_offset <= size && header.p_filesz <= size - header.p_offset &&
            find_build_id(file + header.p_offset, header.p_filesz, build_id))
            return;
    }
}

bool mp__program_build_id(const char *path, char build_id[MP__BUILD_ID_MAX])
{
    struct stat about;
    build_id[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t size = fstat(fd, &about) == 0 && S_ISREG(about.st_mode) ? (size_t)about.st_size : 0;
    void *file = size >= sizeof(ElfW(Ehdr)) ? mp__system.mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (file == MAP_FAILED)
        return false;
    bool is_program = !memcmp(file, ELFMAG, SELFMAG) && ((const uint8_t *)file)[EI_CLASS] == ELFCLASS64;
    if (is_program)
        look_at_file(file, size, build_id);
    munmap(file, size);
    return is_program;
}
