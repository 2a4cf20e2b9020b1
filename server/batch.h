// Several records in one request, as batch transform sends them: JSON Lines, JSON values on lines
// of their own, or one array. Records run side by side; answers come in their order.
#ifndef HADAL_SERVER_BATCH_H
#define HADAL_SERVER_BATCH_H

#include "server/invocations.h"

// Whether text holds more than one record. lines: its type says that lines are records.
bool hd_batch_is_lines(hd_slice text, bool lines);
// Answers one JSON line per record.
void hd_batch_lines(const hd_reading *r, hd_http_rsp *rs, hd_slice text);
// Answers an array; takes doc, which is one, over.
void hd_batch_array(const hd_reading *r, hd_http_rsp *rs, hd_json *doc);

#endif
