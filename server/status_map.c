// The one table from status codes to HTTP statuses and process exit codes (sysexits numbers).
#include "server/schema.h"

static const struct {
    int http, exit;
} map[HD_STATUS_COUNT] = {
    [HD_OK] = {200, 0},
    [HD_E_INVAL] = {400, 64},       // EX_USAGE
    [HD_E_LIMIT] = {400, 65},       // EX_DATAERR
    [HD_E_NOMEM] = {503, 71},       // EX_OSERR
    [HD_E_NOTFOUND] = {404, 66},    // EX_NOINPUT
    [HD_E_EXISTS] = {409, 73},      // EX_CANTCREAT
    [HD_E_UNSUPPORTED] = {400, 65}, //
    [HD_E_CORRUPT] = {500, 65},     //
    [HD_E_IO] = {500, 74},          // EX_IOERR
    [HD_E_BUSY] = {429, 75},        // EX_TEMPFAIL
    [HD_E_CANCELLED] = {503, 130},  //
    [HD_E_TIMEOUT] = {504, 75},     //
    [HD_E_DEVICE] = {500, 70},      // EX_SOFTWARE
    [HD_E_INTERNAL] = {500, 70},    //
};

int hd_http_status_of(hd_status s)
{
    return map[s < HD_STATUS_COUNT ? s : HD_E_INTERNAL].http;
}

int hd_exit_code_of(hd_status s)
{
    return map[s < HD_STATUS_COUNT ? s : HD_E_INTERNAL].exit;
}
