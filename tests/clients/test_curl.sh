#!/bin/sh
# Every endpoint of moa serve by curl, whole and as streams, and each way of being refused. With -u in place of a name of a test: shows each reply.
skip() { echo "skip: $1"; echo "[  SKIPPED ] 1 test(s)"; exit 0; }
command -v curl >/dev/null 2>&1 || skip "no curl"
moa=${MOA:-build/moa}
dir=$(mktemp -d)
: >"$dir/says"
"$moa" serve --port 0 --api-key SECRET --max-body 1 -q 2>"$dir/says" &
pid=$!
trap 'kill -9 $pid 2>/dev/null; rm -rf "$dir"' EXIT
i=0
while ! grep -q http "$dir/says"; do
    i=$((i + 1))
    [ $i -lt 600 ] && kill -0 $pid 2>/dev/null || { echo "[  FAILED  ] 1 test(s): moa serve did not start: $(cat "$dir/says")"; exit 1; }
    sleep 0.05
done
url=$(sed -nE 's,.*(http://127.0.0.1:[0-9]+).*,\1,p' "$dir/says")
passed=0 failed=0 key=' Bearer SECRET'
Q='"messages":[{"role":"user","content":"What is 17 + 25?"}]'

# ask NAME STATUS PATTERN PATH [curl's arguments]: the status, and an extended regular expression in head and body together.
ask() {
    name=$1 want=$2 pattern=$3 path=$4
    shift 4
    status=$(curl -sS -m 20 -i -o "$dir/reply" -w '%{http_code}' -H "Authorization:$key" "$@" "$url$path" 2>"$dir/err")
    [ "$SHOW" ] && cat "$dir/reply"
    if [ "$status" = "$want" ] && tr -d '\r' <"$dir/reply" | grep -aqE -- "$pattern"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "[  FAILED  ] $name: $status instead of $want, or without /$pattern/:"
        cat "$dir/err" "$dir/reply"
    fi
}
post() {
    post_name=$1 post_status=$2 post_pattern=$3 post_path=$4 post_body=$5
    shift 5
    ask "$post_name" "$post_status" "$post_pattern" "$post_path" -H 'Content-Type: application/json' --data-binary "$post_body" "$@"
}
[ "${1:-}" = -u ] && SHOW=1 || SHOW=

ask health 200 '"status":"ok"' /health
ask models 200 '"id":"self-moa"' /v1/models
ask 'one model' 200 '"id":"vote"' /v1/models/vote
ask 'without /v1' 200 '"object":"list"' /models
ask metrics 200 '^moa_requests_total\{' /metrics
ask ps 200 '"data":\[\]' /v1/ps
key=
ask 'health without a key' 200 '"status":"ok"' /health
ask page 200 '<title>moa</title>' /
ask 'a file of the page' 200 '^Content-Type: text/css' /ui/style.css
key=' Bearer SECRET'
ask HEAD 200 '^x-request-id: req-' /v1/models -I
post chat 200 '"finish_reason":"(stop|length)"' /v1/chat/completions "{\"model\":\"moa-tiny\",$Q}"
post 'a mixture' 200 '"calls":3' /v1/chat/completions "{\"model\":\"self-moa:n=2\",$Q}"
post 'a mixture tuned' 200 '"calls":5' /v1/chat/completions "{\"model\":\"vote\",\"moa\":{\"n\":5},$Q}"
post completions 200 '"object":"text_completion"' /v1/completions '{"prompt":"Tom has","max_tokens":5}'
post responses 200 '"object":"response"' /v1/responses '{"input":"What is 17 + 25?","max_output_tokens":9}'
post embeddings 200 '"embedding":\[' /v1/embeddings '{"input":"Tom"}'
post 'embeddings in base64' 200 '"embedding":"[A-Za-z0-9+/=]+"' /v1/embeddings '{"input":"Tom","encoding_format":"base64"}'
post tokenize 200 '"count":[0-9]+' /tokenize '{"content":"Tom has 12 apples"}'
post detokenize 200 '"content":"' /detokenize '{"tokens":[5,6,7]}'
ask 'a charset of the type' 200 '"object":"chat' /v1/chat/completions --data-binary "{\"max_tokens\":2,$Q}" -H 'Content-Type: application/json; charset=utf-8'

# Streams: --no-buffer shows each event when it comes.
post 'a stream' 200 '^data: \[DONE\]' /v1/chat/completions "{\"stream\":true,$Q}" --no-buffer
post 'the type of a stream' 200 '^Content-Type: text/event-stream' /v1/chat/completions "{\"stream\":true,$Q}" --no-buffer
post 'its first event' 200 '"delta":\{"role":"assistant"' /v1/chat/completions "{\"stream\":true,$Q}" --no-buffer
post 'its usage' 200 '"choices":\[\],"usage":\{' /v1/chat/completions "{\"stream\":true,\"stream_options\":{\"include_usage\":true},$Q}" --no-buffer
post 'thoughts' 200 '"reasoning_content"' /v1/chat/completions "{\"model\":\"self-moa:n=2\",\"stream\":true,\"moa\":{\"show\":\"all\"},$Q}" --no-buffer
post 'completions as a stream' 200 '^data: \[DONE\]' /v1/completions '{"prompt":"Tom","stream":true,"max_tokens":4}' --no-buffer
post 'responses as events' 200 '^event: response.incomplete' /v1/responses '{"input":"Tom","stream":true,"max_output_tokens":4}' --no-buffer

# Refusals: each with the status, and words for people.
key=
ask '401 no key' 401 '"code":"missing_api_key"' /v1/models
key=' Bearer WRONG'
ask '401 a wrong key' 401 '^WWW-Authenticate: Bearer' /v1/models
key=' Bearer SECRET'
ask '404 a path' 404 'no such path: GET /v1/none' /v1/none
ask '404 a model' 404 '"code":"model_not_found"' /v1/models/none
post '404 the model of a request' 404 '"param":"model"' /v1/chat/completions "{\"model\":\"none\",$Q}"
ask '405 the method' 405 '^Allow: POST' /v1/chat/completions
ask '405 DELETE' 405 '"code":"method_not_allowed"' /v1/models -X DELETE
post '400 broken JSON' 400 '"type":"invalid_request_error"' /v1/chat/completions '{"messages":['
post '400 a type' 400 '"param":"max_tokens"' /v1/chat/completions "{\"max_tokens\":\"many\",$Q}"
post '400 no messages' 400 '"param":"messages"' /v1/chat/completions '{}'
post '400 a number of the mix' 400 '"param":"moa.n"' /v1/chat/completions "{\"model\":\"vote\",\"moa\":{\"n\":1000000},$Q}"
post '400 the context' 400 '"code":"context_length_exceeded"' /v1/chat/completions "{\"messages\":[{\"role\":\"user\",\"content\":\"$(printf 'word %.0s' $(seq 5000))\"}]}"
ask '415 a form' 415 'expected application/json' /v1/chat/completions -d 'a=b'
ask '403 a page of elsewhere' 403 '"code":"origin_not_allowed"' /v1/models -H 'Origin: http://evil.example'
ask 'a preflight' 204 '^Access-Control-Allow-Origin: http://localhost:3000' /v1/chat/completions -X OPTIONS -H 'Origin: http://localhost:3000' -H 'Access-Control-Request-Headers: authorization, content-type'
head -c 1500000 /dev/zero | tr '\0' ' ' >"$dir/large"
ask '413 the body' 413 '"code":"body_too_large"' /v1/chat/completions -H 'Content-Type: application/json' --data-binary "@$dir/large"
ask '413 in chunks' 413 '"code":"body_too_large"' /v1/chat/completions -H 'Content-Type: application/json' -H 'Transfer-Encoding: chunked' --data-binary "@$dir/large"
ask 'and it goes on' 200 '"status":"ok"' /health

# A server with room for one request: the third is refused at once, and is told when to come again.
kill -TERM $pid && wait $pid || { failed=$((failed + 1)); echo "[  FAILED  ] SIGTERM: exit $?"; }
: >"$dir/says"
"$moa" serve --port 0 --max-running 1 --max-queue 1 -q 2>"$dir/says" &
pid=$!
while ! grep -q http "$dir/says"; do sleep 0.05; done
url=$(sed -nE 's,.*(http://127.0.0.1:[0-9]+).*,\1,p' "$dir/says")
for k in 1 2; do
    curl -sN -m 20 -o /dev/null -H 'Content-Type: application/json' -d "{\"model\":\"self-moa:n=256,temperature=5\",\"stream\":true,$Q}" "$url/v1/chat/completions" &
    eval "c$k=$!"
done
i=0
while [ $i -lt 200 ] && ! curl -s "$url/ps" | grep -q running.*waiting && ! curl -s "$url/ps" | grep -q waiting.*running; do i=$((i + 1)); sleep 0.02; done
post '429 the queue' 429 '^Retry-After: [0-9]+' /v1/chat/completions "{$Q}"
kill "$c1" "$c2" 2>/dev/null
wait "$c1" "$c2" 2>/dev/null
i=0
while [ $i -lt 100 ] && ! curl -s "$url/ps" | grep -q '"data":\[\]'; do i=$((i + 1)); sleep 0.02; done
ask 'who leaves stops the work' 200 '"data":\[\]' /ps
kill -TERM $pid && wait $pid || { failed=$((failed + 1)); echo "[  FAILED  ] SIGTERM: exit $?"; }
echo "[  PASSED  ] $passed test(s)."
[ $failed -eq 0 ] || { echo "[  FAILED  ] $failed test(s)"; exit 1; }
