/*
 * fuzz_session.c - a whole session over scripted streams: whatever clients and origins say, in
 * whatever pieces and order, what comes out is right (support/session_judge.h), everything ends and
 * nothing is left (support/session_stage.h).
 *
 * Input: a play. A line that begins with '@' is a direction; the lines below it are what is said,
 * each ended by CRLF. In them \r \n \t \0 \\ \@ and \xHH are octets, and a backslash at the end of
 * a line takes its CRLF away. Actors are clients A to D and origins 1 to 8, which are connections
 * in the order of their dials; what is said by an origin that was not dialled is lost.
 *
 *   @A, @1            the actor who speaks from here on
 *   @pieces N         the same, but N octets at a time (0: whole)
 *   @more N           N octets of payload
 *   @fin X            the actor will say no more
 *   @close X          it leaves; @reset X: with a reset
 *   @deaf X, @hear X  it stops reading; it reads again
 *   @hold, @go        what comes happens at once, without a turn of the loop; until here
 *   @wait MS          time passes
 *   @refuse N         the next N dials are refused
 *   @hang N, @connect the next N dials hang; until here
 *   @reload           the proxy gets its configuration anew
 *   @forbid           the same, and u2.ca.test alone may be reached from then on
 *   @drain, @stop     it is to end; its grace is over
 *   @end gone|time    the last scene: all actors leave (so it is without this), or nothing more
 *                     happens but time
 *
 *   @down N, @up N    who checks the gateway's upstreams says so of the one at N
 *
 * and before the first actor: @paced, @balancer, @roomy, @copied, @passwords, @parents,
 * @passthrough, @gateway, @redirect, @names, @outside, @sni match|strict|off, @exchanges N. With
 * @parents the origins' places are those of parent proxies; what comes out is not judged then, only
 * that nothing breaks, hangs or is left. With @gateway they are those of STAGE_UPSTREAMS.
 * With SESSION_PRINT in the environment all that was said and heard is printed.
 */
#include "tests/support/session_judge.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/gateway_judge.h"
#include "tests/support/passthrough_judge.h"
#include "tests/support/session_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SAID_MAX = 64 * 1024,    /* octets of a play; what is more is not said */
    PIECES_MAX = 400,        /* turns for pieces; then they are said whole */
    WAIT_MAX = 100000000,    /* milliseconds */
    LINE_MAX = 64,           /* octets of a direction */
    LAST_SCENE_STEPS = 2000, /* of a minute each: more than the life of a tunnel */
};

struct play {
    const char *p;
    size_t n, at;
    struct stage_options options;
    bool open; /* the stage is */
    bool hold;
    bool time_ends; /* the last scene */
    char speaker;   /* 0: nobody */
    size_t piece, pieces, said;
};

/* ---- actors ---- */

/* NULL: nobody of that name is there. */
static struct stage_end *actor(const struct play *play, char name)
{
    if (name >= '1' && name < '1' + STAGE_ORIGINS)
        return stage_origin((unsigned)(name - '1'));
    /* Whose a request is, is not to be seen behind a balancer: then there is one client. */
    unsigned clients = play->options.balancer ? 1 : STAGE_CLIENTS;
    if (name >= 'A' && name < (char)('A' + clients))
        return stage_client((unsigned)(name - 'A'));
    return NULL;
}

static void turn(const struct play *play)
{
    if (!play->hold)
        stage_turn();
}

static void say(struct play *play, const char *p, size_t n)
{
    struct stage_end *e = actor(play, play->speaker);
    n = n < SAID_MAX - play->said ? n : SAID_MAX - play->said;
    play->said += n;
    if (e == NULL)
        return;
    while (n > 0) {
        size_t step =
            play->piece > 0 && play->pieces < PIECES_MAX && play->piece < n ? play->piece : n;
        stage_say(e, p, step);
        turn(play);
        play->pieces++;
        p += step;
        n -= step;
    }
}

/* ---- lines ---- */

static int hex(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* The octet that stands at `p`, perhaps as an escape; returns how much of `p` it is. */
static size_t unescape(const char *p, size_t n, char *octet)
{
    static const char from[] = "rnt0\\@", to[] = "\r\n\t\0\\@";
    const char *known = n > 1 && p[1] != '\0' ? strchr(from, p[1]) : NULL;
    *octet = p[0];
    if (p[0] != '\\')
        return 1;
    if (n > 3 && p[1] == 'x' && hex(p[2]) >= 0 && hex(p[3]) >= 0) {
        *octet = (char)(hex(p[2]) * 16 + hex(p[3]));
        return 4;
    }
    if (known == NULL)
        return 1;
    *octet = to[known - from];
    return 2;
}

/* Everything up to the next direction, in one breath. */
static void speech(struct play *play)
{
    char *octets = malloc(2 * play->n + 2);
    size_t n = 0;
    assert(octets != NULL);
    while (play->at < play->n && play->p[play->at] != '@') {
        const char *p = play->p + play->at;
        const char *end = memchr(p, '\n', play->n - play->at);
        size_t line = end != NULL ? (size_t)(end - p) : play->n - play->at;
        bool open = line > 0 && p[line - 1] == '\\' && !(line > 1 && p[line - 2] == '\\');
        for (size_t i = 0; i < line - open;)
            i += unescape(p + i, line - open - i, &octets[n++]);
        if (!open && end != NULL) {
            octets[n++] = '\r';
            octets[n++] = '\n';
        }
        play->at += line + (end != NULL);
    }
    say(play, octets, n);
    free(octets);
}

/* ---- directions ---- */

static void more(struct play *play, unsigned long n)
{
    static char payload[SAID_MAX];
    for (size_t i = 0; payload[0] == '\0' && i < sizeof payload; i++)
        payload[i] = (char)('a' + (i / 7 + i) % 26);
    say(play, payload, n < sizeof payload ? n : sizeof payload);
}

/* Directions about one actor. */
static void move_actor(struct play *play, const char *word, char name)
{
    struct stage_end *e = actor(play, name);
    if (e == NULL)
        return;
    if (strcmp(word, "fin") == 0)
        stage_fin(e);
    else if (strcmp(word, "close") == 0 || strcmp(word, "reset") == 0)
        stage_leave(e, word[0] == 'r');
    else
        stage_deaf(e, word[0] == 'd');
    turn(play);
}

/* Directions about the proxy and what is around it. */
static void move_scene(struct play *play, const char *word, unsigned long n)
{
    if (strcmp(word, "pieces") == 0)
        play->piece = n;
    else if (strcmp(word, "more") == 0)
        more(play, n);
    else if (strcmp(word, "hold") == 0 || strcmp(word, "go") == 0)
        play->hold = word[0] == 'h';
    else if (strcmp(word, "wait") == 0)
        stage_wait(n < WAIT_MAX ? n : WAIT_MAX);
    else if (strcmp(word, "refuse") == 0)
        stage_refuse_next((unsigned)(n < STAGE_ORIGINS ? n : STAGE_ORIGINS));
    else if (strcmp(word, "hang") == 0)
        stage_hang_next((unsigned)(n < STAGE_ORIGINS ? n : STAGE_ORIGINS));
    else if (strcmp(word, "connect") == 0)
        stage_connect();
    else if (strcmp(word, "drain") == 0)
        stage_drain();
    else if (strcmp(word, "stop") == 0)
        stage_stop();
    else if (strcmp(word, "reload") == 0 || strcmp(word, "forbid") == 0) {
        play->options.forbids = play->options.forbids || word[0] == 'f';
        stage_reload(&play->options);
    } else if (strcmp(word, "down") == 0 || strcmp(word, "up") == 0)
        stage_tell((unsigned)(n < STAGE_ORIGINS ? n : STAGE_ORIGINS), word[0] == 'd');
    turn(play);
}

static bool prepare_gateway(struct stage_options *o, const char *word)
{
    bool *const options[] = {&o->gateway, &o->redirect, &o->names, &o->outside};
    static const char *const words[] = {"gateway", "redirect", "names", "outside"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i]) == 0)
            return *options[i] = true;
    }
    return false;
}

/* Directions before the stage opens. False: it is none of them. */
static bool prepare(struct play *play, const char *word, const char *rest)
{
    struct stage_options *o = &play->options;
    if (prepare_gateway(o, word))
        return true;
    if (strcmp(word, "paced") == 0)
        o->paced = true;
    else if (strcmp(word, "balancer") == 0)
        o->balancer = true;
    else if (strcmp(word, "roomy") == 0)
        o->roomy = true;
    else if (strcmp(word, "copied") == 0)
        o->copied = true;
    else if (strcmp(word, "passwords") == 0)
        o->passwords = true;
    else if (strcmp(word, "parents") == 0)
        o->parents = true;
    else if (strcmp(word, "passthrough") == 0)
        o->passthrough = true;
    else if (strcmp(word, "sni") == 0)
        o->sni = strcmp(rest, "off") == 0      ? STAGE_SNI_OFF
                 : strcmp(rest, "strict") == 0 ? STAGE_SNI_STRICT
                                               : STAGE_SNI_MATCH;
    else if (strcmp(word, "exchanges") == 0)
        o->exchanges_max = (unsigned)(strtoul(rest, NULL, 10) % 1000);
    else
        return false;
    return true;
}

static void direction(struct play *play, const char *word, const char *rest)
{
    static const char *const about[] = {"fin", "close", "reset", "deaf", "hear"};
    if (strcmp(word, "end") == 0) {
        play->time_ends = strcmp(rest, "time") == 0;
        return;
    }
    if (!play->open && prepare(play, word, rest))
        return;
    if (!play->open)
        stage_open(&play->options);
    play->open = true;
    if (word[0] != '\0' && word[1] == '\0') {
        play->speaker = word[0];
        return;
    }
    for (size_t i = 0; i < sizeof about / sizeof *about; i++) {
        if (strcmp(word, about[i]) == 0) {
            move_actor(play, word, rest[0]);
            return;
        }
    }
    move_scene(play, word, strtoul(rest, NULL, 10));
}

/* A line "@word rest". */
static void read_direction(struct play *play)
{
    char line[LINE_MAX] = "";
    const char *p = play->p + play->at + 1;
    size_t left = play->n - play->at - 1;
    const char *end = left > 0 ? memchr(p, '\n', left) : NULL;
    size_t n = end != NULL ? (size_t)(end - p) : left;
    play->at += 1 + n + (end != NULL);
    if (n >= sizeof line)
        return;
    memcpy(line, p, n);
    char *rest = strchr(line, ' ');
    if (rest != NULL)
        *rest++ = '\0';
    direction(play, line, rest != NULL ? rest : "");
}

/* ---- the last scene ---- */

/* Every session ends: because nobody is there any more, or because nothing is for ever. */
static void last_scene(const struct play *play)
{
    for (unsigned i = 0; play->time_ends && !stage_is_empty() && i < LAST_SCENE_STEPS; i++)
        stage_wait(60000);
    if (play->time_ends)
        assert(stage_is_empty());
    stage_leave_all();
    assert(stage_is_empty());
}

static void judge(const struct stage_options *options, bool settled)
{
    if (options->passthrough)
        passthrough_judge(settled);
    else if (!options->gateway && options->redirect)
        redirect_judge(options, settled);
    else
        session_judge(options, settled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play play = {.p = (const char *)data, .n = size};
    while (play.at < play.n && play.p[play.at] == '@') {
        read_direction(&play);
        if (play.open && play.at < play.n && play.p[play.at] != '@')
            speech(&play);
    }
    if (!play.open)
        return 0;
    stage_turn();
    /* Where a hello begins is not to be seen behind a balancer. */
    bool by_parents = play.options.parents && !play.options.gateway && !play.options.redirect;
    bool judged = !by_parents && !(play.options.passthrough && play.options.balancer);
    if (judged && !stage_is_anybody_deaf())
        judge(&play.options, true);
    last_scene(&play);
    if (getenv("SESSION_PRINT") != NULL)
        session_print();
    if (judged)
        judge(&play.options, false);
    stage_close();
    return 0;
}
