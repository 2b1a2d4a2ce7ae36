// A bare relay: puts "[pid] " before each line that a program writes.
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ = 65536, LINE_MAX_SIZE = 8192 };

static char in[READ + LINE_MAX_SIZE], out[32 * (READ + LINE_MAX_SIZE)];

static void write_all(const char *from, size_t length) {
    while (length > 0) {
        ssize_t written = write(2, from, length);
        if (written < 0) _exit(1);
        from += written;
        length -= written;
    }
}

int main(int argc, char **argv) {
    (void)argc;
    int ends[2];
    if (pipe(ends) < 0) return 1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    close(ends[1]);
    char prefix[24];
    size_t prefix_length = snprintf(prefix, sizeof prefix, "[%d] ", child);
    size_t begun = 0;
    for (ssize_t count; begun < LINE_MAX_SIZE && (count = read(ends[0], in + begun, READ)) > 0;) {
        char *from = in, *end = in + begun + count, *to = out, *newline;
        while ((newline = memchr(from, '\n', end - from))) {
            memcpy(to, prefix, prefix_length);
            memcpy(to + prefix_length, from, newline + 1 - from);
            to += prefix_length + (newline + 1 - from);
            from = newline + 1;
        }
        write_all(out, to - out);
        begun = end - from;
        memmove(in, from, begun);
    }
    return waitpid(child, 0, 0) < 0;
}
