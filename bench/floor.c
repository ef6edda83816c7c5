/* The floor: what the machine takes for a request if a server does nothing but the unavoidable system calls.
 *
 * One epoll loop, one canned response for every blank line that arrives, in one send per read; after one read that has
 * "Connection: close" in it, another response and the end. It knows no more of HTTP, and no Python. Usage: floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 65536, BATCH = 256, READ_SIZE = 65536, CARRY = 3, MAX_PIPELINE = 256 };

/* As many header fields, and about as many bytes, as the servers send that it is compared with. */
static const char RESPONSE[] = "HTTP/1.1 200 OK\r\n"
                               "Server: floor\r\n"
                               "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: 13\r\n"
                               "\r\n"
                               "Hello, world!";
static const char LAST_RESPONSE[] = "HTTP/1.1 200 OK\r\n"
                                    "Server: floor\r\n"
                                    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                                    "Connection: close\r\n"
                                    "Content-Type: text/plain; charset=utf-8\r\n"
                                    "Content-Length: 13\r\n"
                                    "\r\n"
                                    "Hello, world!";
static const char CLOSE[] = "Connection: close\r\n";
enum { RESPONSE_SIZE = sizeof(RESPONSE) - 1, LAST_RESPONSE_SIZE = sizeof(LAST_RESPONSE) - 1, CLOSE_SIZE = sizeof(CLOSE) - 1 };

/* The last bytes of the previous read: a blank line may be cut by the end of a read. */
static struct { unsigned char size; char bytes[CARRY]; } carried[MAX_FD];
static char responses[RESPONSE_SIZE * MAX_PIPELINE];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void take_connections(int epoll, int listener)
{
    for (;;) {
        int one = 1;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        carried[fd].size = 0;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            close(fd);
    }
}

static void answer(int fd)
{
    static char buffer[CARRY + READ_SIZE];
    size_t carry = carried[fd].size;
    ssize_t got = recv(fd, buffer + carry, READ_SIZE, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            close(fd);
        return;
    }
    memcpy(buffer, carried[fd].bytes, carry);
    char *from = buffer, *end = buffer + carry + got, *blank;
    size_t count = 0;
    while ((blank = memmem(from, (size_t)(end - from), "\r\n\r\n", 4)) != NULL) {
        from = blank + 4;
        count++;
    }
    size_t rest = (size_t)(end - from) < CARRY ? (size_t)(end - from) : CARRY;
    memcpy(carried[fd].bytes, end - rest, rest);
    carried[fd].size = (unsigned char)rest;
    if (count == 0)
        return;
    if (memmem(buffer, carry + (size_t)got, CLOSE, CLOSE_SIZE) != NULL) {
        send(fd, LAST_RESPONSE, LAST_RESPONSE_SIZE, MSG_NOSIGNAL);
        close(fd);
        return;
    }
    /* A short write would need a queue; with these sizes it means that the client stopped reading. */
    if (count > MAX_PIPELINE || send(fd, responses, count * RESPONSE_SIZE, MSG_NOSIGNAL) != (ssize_t)(count * RESPONSE_SIZE))
        close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: floor PORT\n");
        return 2;
    }
    for (size_t i = 0; i < MAX_PIPELINE; i++)
        memcpy(responses + i * RESPONSE_SIZE, RESPONSE, RESPONSE_SIZE);

    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
    if (listen(listener, 1024) < 0)
        fail("listen");

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[BATCH] = {{.events = EPOLLIN, .data.fd = listener}};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]) < 0)
        fail("epoll");
    for (;;) {
        int ready = epoll_wait(epoll, events, BATCH, -1);
        if (ready < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                take_connections(epoll, listener);
            else
                answer(events[i].data.fd);
        }
    }
}
