/*
 * A disk that refuses, for one folder of one program: preloaded into it (LD_PRELOAD) by failing-disk.ts.
 *
 * FAILING_DISK_FOLDER is the folder; FAILING_DISK_CONTROL a file that the test writes: two 32-bit numbers, the error (0: all is well) and the kinds of calls that
 * meet it, and two of 64 bits, the octets of a file that cannot be read. While it stands there every such call on a file of the folder fails, in every process
 * and thread. The kernel is not asked then.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, READ = 8 };

struct control {
  volatile uint32_t error;
  volatile uint32_t calls;
  volatile uint64_t from;
  volatile uint64_t until;
};

static struct control nothing;
static struct control *control = &nothing;
static const char *folder = "";

__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("FAILING_DISK_CONTROL");
  folder = getenv("FAILING_DISK_FOLDER");
  if (file == NULL || folder == NULL) return;
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *memory = mmap(NULL, sizeof(struct control), PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (memory != MAP_FAILED) control = memory;
}

static int is_hit(uint32_t kind) { return control->error != 0 && (control->calls & kind) != 0; }

static int is_ours(const char *path) { return strncmp(path, folder, strlen(folder)) == 0; }

static int path_fails(uint32_t kind, const char *path) {
  if (!is_hit(kind) || !is_ours(path)) return 0;
  errno = (int)control->error;
  return 1;
}

static int fails(uint32_t kind, int fd) {
  if (!is_hit(kind)) return 0;
  char link[40], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return path_fails(kind, path);
}

static int read_fails(int fd, size_t size, off64_t at) {
  if ((uint64_t)at >= control->until || (uint64_t)at + size <= control->from) return 0;
  return fails(READ, fd);
}

#define REAL(name) static __typeof__(&name) real; if (real == NULL) real = dlsym(RTLD_NEXT, #name)

#define MODE(flags) mode_t mode = 0; \
  if (((flags) & O_CREAT) != 0) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) REAL(open); return path_fails(OPEN, path) ? -1 : real(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) REAL(open64); return path_fails(OPEN, path) ? -1 : real(path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) REAL(openat); return path_fails(OPEN, path) ? -1 : real(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) REAL(openat64); return path_fails(OPEN, path) ? -1 : real(at, path, flags, mode); }

ssize_t write(int fd, const void *data, size_t size) { REAL(write); return fails(WRITE, fd) ? -1 : real(fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int count) { REAL(writev); return fails(WRITE, fd) ? -1 : real(fd, parts, count); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { REAL(pwrite); return fails(WRITE, fd) ? -1 : real(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { REAL(pwrite64); return fails(WRITE, fd) ? -1 : real(fd, data, size, at); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { REAL(pwritev); return fails(WRITE, fd) ? -1 : real(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { REAL(pwritev64); return fails(WRITE, fd) ? -1 : real(fd, parts, count, at); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); return fails(WRITE, fd) ? -1 : real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return fails(WRITE, fd) ? -1 : real(fd, size); }

ssize_t pread(int fd, void *data, size_t size, off_t at) { REAL(pread); return read_fails(fd, size, at) ? -1 : real(fd, data, size, at); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { REAL(pread64); return read_fails(fd, size, at) ? -1 : real(fd, data, size, at); }

int fsync(int fd) { REAL(fsync); return fails(SYNC, fd) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return fails(SYNC, fd) ? -1 : real(fd); }
