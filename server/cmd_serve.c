// hadal serve: the listener first, then the model on a thread of its own, then signals.
//
//   LOADING --model ready--> READY --SIGTERM, SIGINT--> DRAINING --all answered, or cut--> exit 0
//      \--cannot load--> FAILED --> exit by cause, with one ERROR line, the last one written
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "server/cli.h"
#include "server/cmd.h"
#include "server/config_alias.h"
#include "server/schema.h"
#include "server/server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

extern char **environ;

enum {
    CONTROL_CONNECTIONS = 32, // kept for health probes whatever else is connected
    OTHER_FILES = 128,        // descriptors for everything that is not a connection
    TICK_MS = 100,
    WATCH_MS = 500,       // between checks of the engine's health
    SICK_CHECKS = 2,      // a platform replaces what is unhealthy, so once may be chance
    CUT_MS = 1000,        // for last words to running requests after the drain
    PROGRESS_SECONDS = 5, // between lines about loading
};

typedef struct service {
    hd_config cfg;
    hd_engine_cfg engine_cfg;
    hd_server sv;
    hd_http *http;
    hd_alias_text text; // settings borrow from it
    int64_t phase_ns;   // when the present phase of loading began
    hd_load_phase phase;
    _Atomic uint64_t bytes_done; // of the weights
    pthread_t loader;
    bool loading; // the loader's thread is to be joined
    volatile int cancel;
    int64_t start_ns;
    int sick;              // checks in a row that found the engine stuck or broken
    hd_status load_status; // the loader's, read after FAILED or the join
    hd_err load_err;
} service;

// ---- loading -------------------------------------------------------------------------------

// How long each phase took, for /metrics.
static void time_phase(service *s, hd_load_phase phase)
{
    int64_t now = hd_mono_ns();
    if (phase == s->phase) return;
    atomic_store_explicit(&s->sv.metrics.load_ns[s->phase], (uint64_t)(now - s->phase_ns),
                          memory_order_relaxed);
    s->phase = phase;
    s->phase_ns = now;
}

static void on_progress(void *ctx, hd_load_phase phase, uint64_t done, uint64_t total)
{
    service *s = ctx;
    double f = 0;
    time_phase(s, phase);
    switch (phase) {
    case HD_LOAD_OPEN:
        break;
    case HD_LOAD_WEIGHTS:
        atomic_store_explicit(&s->bytes_done, done, memory_order_relaxed);
        f = total ? 0.9 * (double)done / (double)total : 0;
        break;
    case HD_LOAD_PLAN:
        f = 0.92;
        break;
    case HD_LOAD_WARMUP:
        f = 0.95;
        break;
    case HD_LOAD_DONE:
        f = 1;
        break;
    }
    hd_lifecycle_progress(s->sv.life, f);
}

static void *load(void *arg)
{
    service *s = arg;
    hd_engine *e = NULL;
    s->phase = HD_LOAD_OPEN;
    s->phase_ns = hd_mono_ns();
    s->load_status = hd_engine_open(&s->engine_cfg, &e, &s->load_err);
    if (s->load_status != HD_OK) {
        s->sv.failure = s->load_err.msg;
        hd_lifecycle_move(s->sv.life, HD_LIFE_LOADING, HD_LIFE_FAILED);
        return NULL;
    }
    const hd_model_facts *f = hd_engine_facts(e);
    s->sv.served_name = s->cfg.served_name ? s->cfg.served_name : f->src->name;
    atomic_store_explicit(&s->sv.engine, e, memory_order_release);
    atomic_store_explicit(&s->sv.metrics.load_ns[HD_LOAD_PHASES],
                          (uint64_t)(hd_mono_ns() - s->start_ns), memory_order_relaxed);
    HD_LOG(HD_LOG_INFO, "serve", "ready", hd_f_str("model", s->sv.served_name),
           hd_f_str("template", f->chat ? f->chat->name : "none"),
           hd_f_int("context", f->max_context),
           hd_f_f64("seconds", (double)(hd_mono_ns() - s->start_ns) / 1e9, 2));
    hd_lifecycle_move(s->sv.life, HD_LIFE_LOADING, HD_LIFE_READY);
    return NULL;
}

// ---- settings ------------------------------------------------------------------------------

// Raises the limit of open files and lowers the number of connections to what it allows.
static void fit_connections(hd_config *c)
{
    struct rlimit r;
    int64_t need = c->max_connections + 2 * CONTROL_CONNECTIONS + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0 && getrlimit(RLIMIT_NOFILE, &r) != 0) return;
    if (r.rlim_cur == RLIM_INFINITY || (int64_t)r.rlim_cur >= need) return;
    int64_t fits = c->max_connections - (need - (int64_t)r.rlim_cur);
    if (fits < 1) fits = 1;
    HD_LOG(HD_LOG_WARN, "serve", "fewer connections than configured: limit of open files",
           hd_f_int("files", (int64_t)r.rlim_cur), hd_f_int("max_connections", fits));
    c->max_connections = fits;
}

static hd_status configure(service *s, hd_err *err)
{
    hd_config *c = &s->cfg;
    HD_LOG(HD_LOG_INFO, "serve", "hadal " HADAL_VERSION);
    HD_TRY(hd_alias_apply(c, "/opt/ml/model", &s->text, err));
    hd_config_log(c, HD_CMD_SERVE);
    HD_TRY(hd_config_engine(c, &s->engine_cfg, err));
    s->engine_cfg.progress = on_progress;
    s->engine_cfg.progress_ctx = s;
    s->engine_cfg.cancel = &s->cancel;
    fit_connections(c);
    s->sv.cfg = c;
    s->sv.served_name = c->served_name ? c->served_name : "model";
    s->sv.created = hd_wall_seconds();
    s->sv.profile = (hd_inputs_profile)c->inputs_profile;
    bool lmi = s->sv.profile == HD_PROFILE_LMI;
    HD_LOG(HD_LOG_INFO, "serve", "dialect of 'inputs' bodies",
           hd_f_str("profile", lmi ? "lmi" : "tgi"),
           hd_f_str("default_max_new_tokens", c->default_max_new_tokens ? "as configured"
                                              : lmi                     ? "30"
                                                                        : "what fits"));
    return HD_OK;
}

// ---- start ---------------------------------------------------------------------------------

static hd_status listen_http(service *s, hd_err *err)
{
    const hd_config *c = &s->cfg;
    hd_http_cfg h = {.host = c->host,
                     .port = (int)c->port,
                     .max_connections = (int)c->max_connections,
                     .control_connections = CONTROL_CONNECTIONS,
                     .max_body_bytes = (size_t)c->max_body_bytes,
                     .max_header_bytes = (size_t)c->max_header_bytes,
                     .max_headers = (size_t)c->max_headers,
                     .header_seconds = (int)c->header_seconds,
                     .body_idle_seconds = (int)c->body_idle_seconds,
                     .idle_seconds = (int)c->idle_seconds,
                     .routes = hd_routes,
                     .n_routes = hd_n_routes,
                     .server = &s->sv,
                     .error_body = hd_server_error_body,
                     .admit = hd_server_admit,
                     .cors_origin = c->cors_origin};
    HD_TRY(hd_http_start(&h, &s->http, err));
    atomic_store_explicit(&s->sv.http, s->http, memory_order_release);
    HD_LOG(HD_LOG_INFO, "serve", "listening", hd_f_int("port", hd_http_port(s->http)),
           hd_f_str("host", c->host ? c->host : "all"));
    return HD_OK;
}

static hd_status start(service *s, hd_err *err)
{
    s->sv.life = hd_lifecycle_create();
    HD_CHECK(s->sv.life, err, HD_E_NOMEM, "out of memory");
    HD_TRY(configure(s, err));
    HD_TRY(listen_http(s, err));
    int rc = pthread_create(&s->loader, NULL, load, s);
    HD_CHECK(rc == 0, err, HD_E_IO, "thread for loading: %s", strerror(rc));
    s->loading = true;
    return HD_OK;
}

// ---- running and ending --------------------------------------------------------------------

static void check_health(service *s)
{
    const hd_engine *e = atomic_load_explicit(&s->sv.engine, memory_order_acquire);
    bool was = atomic_load_explicit(&s->sv.unhealthy, memory_order_relaxed);
    s->sick = hd_engine_healthy(e) ? 0 : s->sick + 1;
    bool is = s->sick >= SICK_CHECKS;
    if (is && !was)
        HD_LOG(HD_LOG_WARN, "serve", "unhealthy: no progress, or the device has failed");
    if (!is && was) HD_LOG(HD_LOG_INFO, "serve", "healthy again");
    atomic_store_explicit(&s->sv.unhealthy, is, memory_order_release);
}

// A platform replaces the container sooner when the process ends than when probes fail.
static bool device_gave_up(service *s)
{
    if (!s->cfg.exit_on_device_failure ||
        !atomic_load_explicit(&s->sv.device_failed, memory_order_acquire))
        return false;
    s->load_status = HD_FAIL(&s->load_err, HD_E_DEVICE,
                             "the device has failed for good; ending, so that this is replaced");
    return true;
}

// For people and probes that look once more before everything is gone.
static void linger(service *s)
{
    int64_t seconds = s->cfg.fail_linger_seconds;
    if (seconds == 0) return;
    HD_LOG(HD_LOG_WARN, "serve", s->load_err.msg, hd_f_str("model", s->cfg.model),
           hd_f_int("linger_seconds", seconds));
    (void)hd_lifecycle_wait(s->sv.life, (int)seconds * 1000);
}

static void log_progress(service *s)
{
    uint64_t done = atomic_load_explicit(&s->bytes_done, memory_order_relaxed);
    double seconds = (double)(hd_mono_ns() - s->start_ns) / 1e9;
    HD_LOG(HD_LOG_INFO, "serve", "loading",
           hd_f_f64("percent", 100 * hd_lifecycle_fraction(s->sv.life), 0),
           hd_f_f64("mb", (double)done / 1e6, 0),
           hd_f_f64("mb_per_second", (double)done / 1e6 / seconds, 0),
           hd_f_f64("seconds", seconds, 0));
}

// After three quarters of the time that the platform allows: six minutes of its usual eight.
static bool startup_is_nearly_over(service *s)
{
    int64_t limit = s->cfg.startup_seconds;
    if ((hd_mono_ns() - s->start_ns) / 1000000 < limit * 750) return false;
    HD_LOG(HD_LOG_WARN, "serve",
           "still loading: the endpoint gives up soon unless "
           "ContainerStartupHealthCheckTimeoutInSeconds is raised (up to 3600)",
           hd_f_f64("progress", hd_lifecycle_fraction(s->sv.life), 2),
           hd_f_int("startup_seconds", limit));
    return true;
}

// Returns the signal that ends the service, or 0 when the model or the device failed.
static int run(service *s)
{
    bool hinted = false;
    int64_t told_ns = s->start_ns;
    for (;;) {
        bool ready = hd_lifecycle_get(s->sv.life) == HD_LIFE_READY;
        int sig = hd_lifecycle_wait(s->sv.life, ready ? WATCH_MS : TICK_MS);
        if (hd_lifecycle_get(s->sv.life) == HD_LIFE_FAILED) {
            if (!sig) linger(s);
            return 0; // a signal changes nothing about why this ends
        }
        if (sig) return sig;
        if (ready) check_health(s);
        if (ready && device_gave_up(s)) return 0;
        if (!ready && hd_mono_ns() - told_ns >= PROGRESS_SECONDS * INT64_C(1000000000)) {
            told_ns = hd_mono_ns();
            log_progress(s);
        }
        if (!ready && !hinted && startup_is_nearly_over(s)) hinted = true;
    }
}

// Lets running requests finish; a second signal ends that early. Returns the exit code.
static int drain(service *s, int sig)
{
    int code = 0;
    int64_t end = hd_mono_ns() + s->cfg.drain_seconds * INT64_C(1000000000);
    hd_lifecycle_set(s->sv.life, HD_LIFE_DRAINING);
    __atomic_store_n(&s->cancel, 1, __ATOMIC_RELAXED); // read by the loader
    HD_LOG(HD_LOG_INFO, "serve", "draining", hd_f_str("signal", sig == SIGINT ? "INT" : "TERM"),
           hd_f_int("running", hd_http_active(s->http)));
    while (hd_http_active(s->http) > 0 && hd_mono_ns() < end) {
        int again = hd_lifecycle_wait(s->sv.life, TICK_MS);
        if (again == SIGINT) code = 130;
        if (again) break;
    }
    if (hd_http_active(s->http) == 0) return code;
    HD_LOG(HD_LOG_WARN, "serve", "cutting requests that still run",
           hd_f_int("running", hd_http_active(s->http)));
    atomic_store_explicit(&s->sv.cut, true, memory_order_release);
    end = hd_mono_ns() + CUT_MS * INT64_C(1000000);
    while (hd_http_active(s->http) > 0 && hd_mono_ns() < end)
        hd_lifecycle_wait(s->sv.life, TICK_MS);
    return code;
}

static void stop(service *s)
{
    atomic_store_explicit(&s->sv.cut, true, memory_order_release);
    hd_http_stop(s->http);
    if (s->loading) pthread_join(s->loader, NULL);
    hd_engine_close(atomic_load_explicit(&s->sv.engine, memory_order_acquire), 0);
    hd_lifecycle_destroy(s->sv.life);
}

int hd_cmd_serve(int argc, char **argv)
{
    hd_err err = {0};
    int code = 0;
    service *s = hd_calloc(1, sizeof(*s));
    if (!s) return hd_exit_code_of(HD_E_NOMEM);
    s->start_ns = hd_mono_ns();
    if (!hd_cli_settings(&s->cfg, HD_CMD_SERVE, argc, argv, &code)) {
        hd_free(s);
        return code;
    }
    signal(SIGPIPE, SIG_IGN);
    hd_status st = start(s, &err);
    int sig = st == HD_OK ? run(s) : 0;
    if (sig) code = drain(s, sig);
    stop(s);
    if (st == HD_OK && !sig) {
        st = s->load_status;
        err = s->load_err;
    }
    if (st != HD_OK) {
        code = hd_exit_code_of(st);
        HD_LOG(HD_LOG_ERROR, "serve", err.msg, hd_f_str("model", s->cfg.model),
               hd_f_int("exit", code));
    } else {
        HD_LOG(HD_LOG_INFO, "serve", "stopped", hd_f_int("exit", code));
    }
    hd_alias_text_fini(&s->text);
    hd_free(s);
    return code;
}
