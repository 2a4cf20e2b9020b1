// Time limits of connections: one thread looks at all of them and shuts the late ones down.
//
// libmicrohttpd's own timeout counts a blocking handler as inactivity and cannot bound the whole
// head; here every phase of a connection has its own limit, and the bytes that the kernel has seen
// (TCP_INFO) tell a silent client from one that trickles. Shutting a socket down wakes the thread
// that serves it, which then closes it.
//
// Threads: any; an entry belongs to its connection between add and remove.
#ifndef HADAL_SERVER_HTTP_WATCH_H
#define HADAL_SERVER_HTTP_WATCH_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hd_watch hd_watch;

typedef enum hd_phase {
    HD_PHASE_IDLE, // between requests
    HD_PHASE_HEAD, // limit on the whole head
    HD_PHASE_BODY, // limit on each pause
    HD_PHASE_BUSY, // a handler works: no limit here
    HD_PHASE_SEND, // limit on each pause in which the client takes nothing
} hd_phase;

typedef struct hd_watched { // zeroed, fd set, before hd_watch_add
    int fd;
    hd_phase phase;
    int64_t since_ns;
    uint64_t bytes; // received when idle, acknowledged when sending
    bool cut;
    struct hd_watched *prev, *next;
} hd_watched;

typedef struct hd_watch_cfg {
    int head_seconds, body_seconds, idle_seconds, send_seconds;
    int crowd; // from so many connections on a new one ends the one idle longest, and idle
               // and headless ones go after two seconds
    // What is sent before the end; borrowed: to a late head or body, and to who has not asked yet.
    hd_slice tardy, crowded;
} hd_watch_cfg;

hd_status hd_watch_create(const hd_watch_cfg *cfg, hd_watch **out, hd_err *err);
void hd_watch_destroy(hd_watch *w); // NULL is legal
void hd_watch_add(hd_watch *w, hd_watched *e);
void hd_watch_remove(hd_watch *w, hd_watched *e);                // before its descriptor is closed
void hd_watch_phase(hd_watch *w, hd_watched *e, hd_phase phase); // also restarts its clock

#endif
