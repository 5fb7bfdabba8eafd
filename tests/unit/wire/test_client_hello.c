/*
 * ClientHellos, good and bad: the first flights of real clients, built ones, and the attempts of
 * those who would have the gate see another name than the CA sees. Each is fed whole, cut at every
 * octet, and spread over records of every size.
 */
#include "proxy/wire/client_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* s_client -tls1_2 -servername CA.DigiCert.com of OpenSSL 3.0 */
static const char hello_openssl[] =
    "16030100cf010000cb0303600d8ce01dc70ea8a972dcdd8a215f626f4dbe8955ceb57627581476e49cd2"
    "2a000038c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009"
    "c0130033009d009c003d003c0035002f00ff0100006a00000014001200000f43412e4469676943657274"
    "2e636f6d000b000403000102000a000c000a001d0017001e00190018002300000016000000170000000d"
    "002a0028040305030603080708080809080a080b08040805080604010501060103030301030204020502"
    "0602";

/* SSLSocket of Java 17 */
static const char hello_java[] =
    "16030301cc010001c80303ef71819d267e3091f31ebee2ef89f7df8d5e7b046991114defdbe4eae758b5"
    "0f2059778acec51315226bdef4eb39a0913e4ccd978c447be3a8b31d778585489ce1004a130213011303"
    "c02cc02bcca9c030cca8c02f009fccaa00a3009e00a2c024c028c023c027006b006a00670040c00ac014"
    "c009c0130039003800330032009d009c003d003c0035002f00ff01000135000000150013000010657374"
    "2e64696769636572742e636f6d000500050100000000000a00160014001d001700180019001e01000101"
    "010201030104000b00020100001100090007020004000000000017000000230000000d002c002a040305"
    "030603080708080804080508060809080a080b0401050106010402030303010302020302010202002b00"
    "050403040303002d000201010032002c002a040305030603080708080804080508060809080a080b0401"
    "0501060104020303030103020203020102020033006b0069001d0020a3ed946df8085f4090b0da116445"
    "5c3352e1dffdaf56b2709ed09f1d0d80e53d00170041048f615851b2bccfd963e30f19861f138e69af81"
    "fa662289d491782047a2b9ed57e3810e0dc075471c62bce1bdb3c730bd9647a32b8ad691dcc1366b1038"
    "bb290a";

/* curl 7.88 with OpenSSL 3.0: padding extension up to 512 octets */
static const char hello_curl[] =
    "1603010200010001fc030363ffd263235fd0c4a6b469933597b3e490844ab7dfdc7f9a40cd001cb93933"
    "e2203da2854366dd706cb482ebd0b39b97fde8872306568c4f598c6209ff757f533f003e130213031301"
    "c02cc030009fcca9cca8ccaac02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033"
    "009d009c003d003c0035002f00ff0100017500000014001200000f63612e64696769636572742e636f6d"
    "000b000403000102000a00160014001d0017001e00190018010001010102010301040010000e000c0268"
    "3208687474702f312e31001600000017000000310000000d002a0028040305030603080708080809080a"
    "080b080408050806040105010601030303010302040205020602002b0009080304030303020301002d00"
    "020101003300260024001d002022d74af39c0103d8ff0e26ebe65549b72467d64b0bdd5c38e7933e375a"
    "7d3668001500ae0000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000";

static const char *const result_names[] = {"OK", "MORE", "NOT_TLS", "MALFORMED"};

/* Parses a copy of exactly that size, so that a sanitizer sees a read too far. */
static enum client_hello_result parse(struct client_hello *hello, const void *data, size_t len)
{
    char *exact = malloc(len > 0 ? len : 1);
    assert_non_null(exact);
    memcpy(exact, data, len);
    memset(hello, 0x55, sizeof *hello);
    enum client_hello_result r = client_hello_parse(hello, exact, len);
    free(exact);
    return r;
}

/*
 * All octets give `expected`, and so does the first beginning of them that is not MORE: the verdict
 * does not depend on how the octets come. `name` is the SNI that an OK must show, NULL for none.
 */
static void feed(const char *what, const void *data, size_t len, enum client_hello_result expected,
                 const char *name)
{
    struct client_hello hello;
    enum client_hello_result r = parse(&hello, data, len);
    if (r != expected)
        fail_msg("%s: %s instead of %s", what, result_names[r], result_names[expected]);
    const char *shown = name != NULL ? name : "";
    if (hello.has_sni != (name != NULL) || strcmp(hello.sni, shown) != 0)
        fail_msg("%s: server name '%s' instead of '%s'", what, hello.sni, shown);

    size_t first = 0;
    while (first < len && (r = parse(&hello, data, first)) == CLIENT_HELLO_MORE) {
        if (hello.has_sni || hello.sni[0] != '\0')
            fail_msg("%s: a name is told before the end", what);
        first++;
    }
    if (r == CLIENT_HELLO_OK && hello.size != first)
        fail_msg("%s: %zu octets instead of %zu", what, hello.size, first);
    if (first == len)
        return;
    if (r != expected || strcmp(hello.sni, shown) != 0)
        fail_msg("%s: %s after %zu of %zu octets", what, result_names[r], first, len);
}

/* Octets under construction. */
struct octets {
    unsigned char data[128 * 1024];
    size_t len;
};

static void put(struct octets *o, const void *data, size_t len)
{
    assert_true(len <= sizeof o->data - o->len);
    if (len > 0)
        memcpy(o->data + o->len, data, len);
    o->len += len;
}

static void put_number(struct octets *o, size_t value, size_t count)
{
    while (count-- > 0) {
        unsigned char octet = (unsigned char)(value >> (8 * count));
        put(o, &octet, 1);
    }
}

/* Adds `message` in records that hold `per_record` octets each. */
static void put_records(struct octets *o, const struct octets *message, size_t per_record)
{
    for (size_t at = 0; at < message->len;) {
        size_t n = message->len - at < per_record ? message->len - at : per_record;
        put(o, "\x16\x03\x01", 3);
        put_number(o, n, 2);
        put(o, message->data + at, n);
        at += n;
    }
}

/* The handshake message with that body. */
static void put_message(struct octets *o, const void *body, size_t len)
{
    put(o, "\x01", 1);
    put_number(o, len, 3);
    put(o, body, len);
}

/* server_name with one entry of `type`. */
static void put_server_name(struct octets *o, unsigned type, const void *name, size_t len)
{
    put_number(o, 0, 2);
    put_number(o, len + 5, 2);
    put_number(o, len + 3, 2);
    put_number(o, type, 1);
    put_number(o, len, 2);
    put(o, name, len);
}

#define VERSION_RANDOM                                                                             \
    "\x03\x03"                                                                                     \
    "0123456789abcdef0123456789ABCDEF"
#define SESSION                                                                                    \
    "\x04"                                                                                         \
    "sess"
#define SUITES "\x00\x04\x13\x01\x0a\x0a"
#define COMPRESSION "\x01\x00"
#define UP_TO_EXTENSIONS VERSION_RANDOM SESSION SUITES COMPRESSION

/* A whole body around the given extensions. */
static void put_body(struct octets *o, const void *extensions, size_t len)
{
    put(o, UP_TO_EXTENSIONS, sizeof UP_TO_EXTENSIONS - 1);
    put_number(o, len, 2);
    put(o, extensions, len);
}

/* Feeds a hello with that body in records of 1, 2, 3, ... octets and in one. */
static void feed_body(const char *what, const void *body, size_t len,
                      enum client_hello_result expected, const char *name)
{
    static struct octets message, wire;
    static const size_t sizes[] = {16384, 1, 2, 3, 4, 5, 7, 40, 64, 100};
    message.len = 0;
    put_message(&message, body, len);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        wire.len = 0;
        put_records(&wire, &message, sizes[i]);
        feed(what, wire.data, wire.len, expected, name);
    }
}

static void feed_extensions(const char *what, const void *extensions, size_t len,
                            enum client_hello_result expected, const char *name)
{
    static struct octets body;
    body.len = 0;
    put_body(&body, extensions, len);
    feed_body(what, body.data, body.len, expected, name);
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    return (int)(strchr(digits, c) - digits);
}

/* A real hello as it came, and taken out of its records and put into others. */
static void feed_real(const char *what, const char *hex, const char *name)
{
    static struct octets wire, message;
    wire.len = message.len = 0;
    for (; hex[0] != '\0'; hex += 2)
        put_number(&wire, (size_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1])), 1);
    feed(what, wire.data, wire.len, CLIENT_HELLO_OK, name);
    put(&message, wire.data + 5, wire.len - 5);
    for (size_t per_record = 1; per_record < 20; per_record++) {
        wire.len = 0;
        put_records(&wire, &message, per_record);
        feed(what, wire.data, wire.len, CLIENT_HELLO_OK, name);
    }
}

static void test_real_clients(void **state)
{
    (void)state;
    feed_real("OpenSSL", hello_openssl, "ca.digicert.com");
    feed_real("Java", hello_java, "est.digicert.com");
    feed_real("curl", hello_curl, "ca.digicert.com");
}

#define BODY(text) (text), sizeof(text) - 1

static void test_bodies(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        const char *body;
        size_t len;
        enum client_hello_result expected;
    } cases[] = {
        {"RFC 5246 7.4.1.2: extensions may be absent", BODY(UP_TO_EXTENSIONS), CLIENT_HELLO_OK},
        {"RFC 8446 4.2: no extension", BODY(UP_TO_EXTENSIONS "\0\0"), CLIENT_HELLO_OK},
        {"an unknown extension", BODY(UP_TO_EXTENSIONS "\0\x05\xab\xcd\0\x01x"), CLIENT_HELLO_OK},
        {"RFC 8701: GREASE, empty and full",
         BODY(UP_TO_EXTENSIONS "\0\x09\x0a\x0a\0\0\xfa\xfa\0\x01\0"), CLIENT_HELLO_OK},
        {"RFC 8446 4.1.2: empty session id", BODY(VERSION_RANDOM "\0" SUITES COMPRESSION),
         CLIENT_HELLO_OK},
        {"RFC 8446 4.1.2: session id of 32",
         BODY(VERSION_RANDOM "\x20"
                             "0123456789abcdef0123456789ABCDEF" SUITES COMPRESSION),
         CLIENT_HELLO_OK},
        {"SSL 3.0 asked for in a hello with the usual layout",
         BODY("\x03\x00"
              "0123456789abcdef0123456789ABCDEF" SESSION SUITES COMPRESSION),
         CLIENT_HELLO_OK},

        {"RFC 8446 4.1.2: one cipher suite",
         BODY(VERSION_RANDOM SESSION "\0\x02\x13\x01" COMPRESSION), CLIENT_HELLO_OK},

        {"empty body", BODY(""), CLIENT_HELLO_MALFORMED},
        {"half a version", BODY("\x03"), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: version 2.x",
         BODY("\x02\x00"
              "0123456789abcdef0123456789ABCDEF" SESSION SUITES COMPRESSION),
         CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: short random",
         BODY("\x03\x03"
              "0123456789abcdef0123456789ABCDE"),
         CLIENT_HELLO_MALFORMED},
        {"ends behind the random", BODY(VERSION_RANDOM), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: session id of 33",
         BODY(VERSION_RANDOM "\x21"
                             "0123456789abcdef0123456789ABCDEFx" SUITES COMPRESSION),
         CLIENT_HELLO_MALFORMED},
        {"session id longer than the body",
         BODY(VERSION_RANDOM "\x20"
                             "short"),
         CLIENT_HELLO_MALFORMED},
        {"ends behind the session id", BODY(VERSION_RANDOM SESSION), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: no cipher suite", BODY(VERSION_RANDOM SESSION "\0\0" COMPRESSION),
         CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: half a cipher suite",
         BODY(VERSION_RANDOM SESSION "\0\x03\x13\x01\x0a" COMPRESSION), CLIENT_HELLO_MALFORMED},
        {"cipher suites longer than the body", BODY(VERSION_RANDOM SESSION "\xff\xfe\x13\x01"),
         CLIENT_HELLO_MALFORMED},
        {"half a length of cipher suites", BODY(VERSION_RANDOM SESSION "\0"),
         CLIENT_HELLO_MALFORMED},
        {"ends behind the cipher suites", BODY(VERSION_RANDOM SESSION SUITES),
         CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: no compression method", BODY(VERSION_RANDOM SESSION SUITES "\0"),
         CLIENT_HELLO_MALFORMED},
        {"compression methods longer than the body", BODY(VERSION_RANDOM SESSION SUITES "\x02\0"),
         CLIENT_HELLO_MALFORMED},
        {"one octet behind the compression methods", BODY(UP_TO_EXTENSIONS "\0"),
         CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4.1.2: octets behind the extensions", BODY(UP_TO_EXTENSIONS "\0\0x"),
         CLIENT_HELLO_MALFORMED},
        {"extensions longer than the body", BODY(UP_TO_EXTENSIONS "\0\x05\xab\xcd\0\0"),
         CLIENT_HELLO_MALFORMED},
        {"extensions shorter than the body", BODY(UP_TO_EXTENSIONS "\0\x03\xab\xcd\0\0"),
         CLIENT_HELLO_MALFORMED},
        {"half an extension type", BODY(UP_TO_EXTENSIONS "\0\x01\xab"), CLIENT_HELLO_MALFORMED},
        {"half an extension length", BODY(UP_TO_EXTENSIONS "\0\x03\xab\xcd\0"),
         CLIENT_HELLO_MALFORMED},
        {"extension longer than all extensions", BODY(UP_TO_EXTENSIONS "\0\x05\xab\xcd\0\x02x"),
         CLIENT_HELLO_MALFORMED},
        {"extension of 65535 octets in 5", BODY(UP_TO_EXTENSIONS "\0\x05\xab\xcd\xff\xffx"),
         CLIENT_HELLO_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        feed_body(cases[i].reason, cases[i].body, cases[i].len, cases[i].expected, NULL);
}

/* The server_name extension itself, every length in it wrong once. */
static const struct {
    const char *reason;
    const char *extensions;
    size_t len;
    const char *name; /* NULL: malformed */
} structure_cases[] = {
    {"RFC 6066 3: as it should be",
     BODY("\0\0\0\x09\0\x07\0\0\x04"
          "a.bc"),
     "a.bc"},
    {"behind GREASE, before another",
     BODY("\x1a\x1a\0\0"
          "\0\0\0\x09\0\x07\0\0\x04"
          "a.bc"
          "\0\x10\0\x01x"),
     "a.bc"},
    {"RFC 6066 3: empty, as only a server may send it", BODY("\0\0\0\0"), NULL},
    {"half a list length", BODY("\0\0\0\x01\0"), NULL},
    {"RFC 6066 3: empty list", BODY("\0\0\0\x02\0\0"), NULL},
    {"list longer than the extension",
     BODY("\0\0\0\x09\0\x08\0\0\x04"
          "a.bc"),
     NULL},
    {"list shorter than the extension",
     BODY("\0\0\0\x09\0\x06\0\0\x04"
          "a.bc"),
     NULL},
    {"octet behind the list",
     BODY("\0\0\0\x0a\0\x07\0\0\x04"
          "a.bcx"),
     NULL},
    {"only a name type", BODY("\0\0\0\x03\0\x01\0"), NULL},
    {"half a name length", BODY("\0\0\0\x04\0\x02\0\0"), NULL},
    {"RFC 6066 3: empty name", BODY("\0\0\0\x05\0\x03\0\0\0"), NULL},
    {"name longer than the list",
     BODY("\0\0\0\x09\0\x07\0\0\x05"
          "a.bc"),
     NULL},
    {"name shorter than the list",
     BODY("\0\0\0\x09\0\x07\0\0\x03"
          "a.bc"),
     NULL},
    {"name of 65535 octets",
     BODY("\0\0\0\x09\0\x07\0\xff\xff"
          "a.bc"),
     NULL},
    {"RFC 6066 3: unknown name type alone",
     BODY("\0\0\0\x09\0\x07\x01\0\x04"
          "a.bc"),
     NULL},
    {"RFC 6066 3: two host names, one for the gate and one for the CA",
     BODY("\0\0\0\x10\0\x0e\0\0\x04"
          "a.bc"
          "\0\0\x04"
          "d.ef"),
     NULL},
    {"unknown name type before a host name",
     BODY("\0\0\0\x10\0\x0e\x07\0\x04"
          "a.bc"
          "\0\0\x04"
          "d.ef"),
     NULL},
    {"RFC 8446 4.2: server_name twice",
     BODY("\0\0\0\x09\0\x07\0\0\x04"
          "a.bc"
          "\0\0\0\x09\0\x07\0\0\x04"
          "d.ef"),
     NULL},
    {"RFC 8446 4.2: server_name twice, the same",
     BODY("\0\0\0\x09\0\x07\0\0\x04"
          "a.bc"
          "\0\0\0\x09\0\x07\0\0\x04"
          "a.bc"),
     NULL},
    {"a good server_name, then a cut extension",
     BODY("\0\0\0\x09\0\x07\0\0\x04"
          "a.bc"
          "\0\x10\0\x05x"),
     NULL},
};

static void test_server_name_structure(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof structure_cases / sizeof *structure_cases; i++)
        feed_extensions(structure_cases[i].reason, structure_cases[i].extensions,
                        structure_cases[i].len,
                        structure_cases[i].name != NULL ? CLIENT_HELLO_OK : CLIENT_HELLO_MALFORMED,
                        structure_cases[i].name);
}

#define LABEL_63 "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxy"
#define NAME_253                                                                                   \
    LABEL_63 "." LABEL_63 "." LABEL_63 "."                                                         \
             "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvw"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        const char *sent;
        size_t len;
        const char *name; /* NULL: malformed */
    } cases[] = {
        {"a name", BODY("acme.digicert.com"), "acme.digicert.com"},
        {"RFC 6066 3: case does not count", BODY("ACME.DigiCert.COM"), "acme.digicert.com"},
        {"RFC 5890: an A-label", BODY("xn--bcher-kva.example"), "xn--bcher-kva.example"},
        {"hyphens inside", BODY("r1---sn-x.example"), "r1---sn-x.example"},
        {"one label", BODY("localhost"), "localhost"},
        {"one letter", BODY("a"), "a"},
        {"no hexadecimal number", BODY("ca.fx12"), "ca.fx12"},
        {"digits in front", BODY("1.2.3.4a"), "1.2.3.4a"},
        {"hexadecimal look-alike that is none", BODY("ca.0xyz"), "ca.0xyz"},
        {"RFC 1035 2.3.4: label of 63", BODY(LABEL_63 ".com"), LABEL_63 ".com"},
        {"RFC 1035 2.3.4: name of 253", BODY(NAME_253), NAME_253},

        {"RFC 1035 2.3.4: label of 64", BODY(LABEL_63 "x.com"), NULL},
        {"RFC 1035 2.3.4: name of 254", BODY("a" NAME_253), NULL},
        {"name of 255", BODY("a." NAME_253), NULL},
        {"name of 256", BODY("ab." NAME_253), NULL},
        {"name of 512, longer than any buffer for it", BODY(NAME_253 "." NAME_253 ".abcd"), NULL},
        {"RFC 6066 3: trailing dot", BODY("ca.example.com."), NULL},
        {"only a dot", BODY("."), NULL},
        {"leading dot", BODY(".example.com"), NULL},
        {"empty label", BODY("ca..example.com"), NULL},
        {"NUL ends the name for C only", BODY("ca.example.com\0.evil.test"), NULL},
        {"NUL at the end", BODY("ca.example.com\0"), NULL},
        {"NUL alone", BODY("\0"), NULL},
        {"space", BODY("ca.example.com "), NULL},
        {"tab", BODY("\tca.example.com"), NULL},
        {"line break for the log", BODY("ca.example.com\r\nx"), NULL},
        {"slash", BODY("ca.example.com/x"), NULL},
        {"port", BODY("ca.example.com:443"), NULL},
        {"userinfo", BODY("evil@ca.example.com"), NULL},
        {"wildcard", BODY("*.example.com"), NULL},
        {"percent", BODY("ca%2eexample.com"), NULL},
        {"backslash", BODY("ca\\.example.com"), NULL},
        {"RFC 6066 3: UTF-8 is not ASCII",
         BODY("b\xc3\xbc"
              "cher.example"),
         NULL},
        {"full-width dot",
         BODY("ca\xef\xbc\x8e"
              "example.com"),
         NULL},
        {"DEL", BODY("ca\x7f.example.com"), NULL},
        {"RFC 1123 2.1: underscore", BODY("my_ca.example.com"), NULL},
        {"RFC 1123 2.1: hyphen in front", BODY("-ca.example.com"), NULL},
        {"RFC 1123 2.1: hyphen behind", BODY("ca-.example.com"), NULL},
        {"RFC 6066 3: IPv4 literal", BODY("192.0.2.1"), NULL},
        {"short IPv4 literal", BODY("127.1"), NULL},
        {"decimal IPv4 literal", BODY("2130706433"), NULL},
        {"octal IPv4 literal", BODY("0177.0.0.01"), NULL},
        {"hexadecimal IPv4 literal", BODY("0x7F000001"), NULL},
        {"hexadecimal last part", BODY("127.0.0.0x1"), NULL},
        {"a last label of 0x alone", BODY("127.0x"), NULL},
        {"name ending in a number", BODY("example.443"), NULL},
        {"RFC 6066 3: IPv6 literal", BODY("2001:db8::1"), NULL},
        {"IPv6 literal in brackets", BODY("[::1]"), NULL},
    };
    static struct octets extensions;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        extensions.len = 0;
        put_server_name(&extensions, 0, cases[i].sent, cases[i].len);
        feed_extensions(cases[i].reason, extensions.data, extensions.len,
                        cases[i].name != NULL ? CLIENT_HELLO_OK : CLIENT_HELLO_MALFORMED,
                        cases[i].name);
    }
}

/* Every octet there is, in the middle of a name. */
static void test_name_octets(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        char name[] = "ca?b.example", lower[] = "ca?b.example", what[32];
        static struct octets extensions;
        name[2] = (char)c;
        lower[2] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        bool good = strchr("abcdefghijklmnopqrstuvwxyz0123456789-.", lower[2]) != NULL && c != 0;
        (void)snprintf(what, sizeof what, "octet 0x%02x in a name", c);
        extensions.len = 0;
        put_server_name(&extensions, 0, name, sizeof name - 1);
        feed_extensions(what, extensions.data, extensions.len,
                        good ? CLIENT_HELLO_OK : CLIENT_HELLO_MALFORMED, good ? lower : NULL);
    }
}

#define RECORD "\x16\x03\x01"

static void test_records(void **state)
{
    (void)state;
    static const struct {
        const char *reason;
        const char *wire;
        size_t len;
        enum client_hello_result expected;
    } cases[] = {
        {"nothing yet", BODY(""), CLIENT_HELLO_MORE},
        {"one octet", BODY("\x16"), CLIENT_HELLO_MORE},
        {"a record header", BODY(RECORD "\0\x40"), CLIENT_HELLO_MORE},
        {"SSL 3.0 record", BODY("\x16\x03\x00\0\x40"), CLIENT_HELLO_MORE},
        {"RFC 8446 5.1: record version 3.4", BODY("\x16\x03\x04\0\x40"), CLIENT_HELLO_MORE},
        {"RFC 8446 5.1: record of 2^14", BODY(RECORD "\x40\x00\x01"), CLIENT_HELLO_MORE},

        {"HTTP in the tunnel", BODY("GET / HTTP/1.1\r\n\r\n"), CLIENT_HELLO_NOT_TLS},
        {"SSH in the tunnel", BODY("SSH-2.0-OpenSSH_9.2\r\n"), CLIENT_HELLO_NOT_TLS},
        {"SMTP in the tunnel", BODY("EHLO evil.test\r\n"), CLIENT_HELLO_NOT_TLS},
        {"a zero octet", BODY("\0"), CLIENT_HELLO_NOT_TLS},
        {"RFC 5246 appendix E.2: an SSLv2 hello", BODY("\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10"),
         CLIENT_HELLO_NOT_TLS},
        {"long form of an SSLv2 header", BODY("\x16\x2e\x00\x01\x03\x01"), CLIENT_HELLO_NOT_TLS},
        {"alert first", BODY("\x15\x03\x01\0\x02\x01\0"), CLIENT_HELLO_NOT_TLS},
        {"ChangeCipherSpec first", BODY("\x14\x03\x01\0\x01\x01"), CLIENT_HELLO_NOT_TLS},
        {"application data first", BODY("\x17\x03\x03\0\x01x"), CLIENT_HELLO_NOT_TLS},
        {"RFC 9147 4: DTLS", BODY("\x16\xfe\xff\0\0"), CLIENT_HELLO_NOT_TLS},
        {"told at the second octet", BODY("\x16\xfe"), CLIENT_HELLO_NOT_TLS},
        {"told at the third octet", BODY("\x16\x03\x05"), CLIENT_HELLO_NOT_TLS},
        {"record version 3.5", BODY("\x16\x03\x05\0\x40"), CLIENT_HELLO_NOT_TLS},
        {"record version 2.1", BODY("\x16\x02\x01\0\x40"), CLIENT_HELLO_NOT_TLS},

        {"RFC 8446 5.1: empty record", BODY(RECORD "\0\0"), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 5.1: record of 2^14 + 1", BODY(RECORD "\x40\x01"), CLIENT_HELLO_MALFORMED},
        {"record of 65535", BODY(RECORD "\xff\xff"), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4: HelloRequest", BODY(RECORD "\0\x04\0\0\0\0"), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4: ServerHello", BODY(RECORD "\0\x40\x02"), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 4: Certificate", BODY(RECORD "\0\x40\x0b"), CLIENT_HELLO_MALFORMED},
        {"hello of 16 MiB", BODY(RECORD "\0\x40\x01\xff\xff\xff"), CLIENT_HELLO_MALFORMED},
        {"hello one octet over the limit", BODY(RECORD "\0\x40\x01\0\xff\xfd"),
         CLIENT_HELLO_MALFORMED},
        {"hello as long as the limit", BODY(RECORD "\0\x40\x01\0\xff\xfc"), CLIENT_HELLO_MORE},
        {"RFC 8446 5.1: empty record in the middle",
         BODY(RECORD "\0\x02\x01\0" RECORD "\0\0" RECORD "\0\x01"), CLIENT_HELLO_MALFORMED},
        {"RFC 8446 5.1: alert in the middle", BODY(RECORD "\0\x02\x01\0\x15\x03\x01\0\x02\x01\0"),
         CLIENT_HELLO_MALFORMED},
        {"RFC 8446 5.1: ChangeCipherSpec in the middle",
         BODY(RECORD "\0\x02\x01\0\x14\x03\x01\0\x01\x01"), CLIENT_HELLO_MALFORMED},
        {"plain octets in the middle",
         BODY(RECORD "\0\x02\x01\0"
                     "GET /"),
         CLIENT_HELLO_MALFORMED},
        {"version 4.x in the middle", BODY(RECORD "\0\x02\x01\0\x16\x04\x01"),
         CLIENT_HELLO_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        feed(cases[i].reason, cases[i].wire, cases[i].len, cases[i].expected, NULL);
}

/* A hello for ca.example, in records of that many octets. */
static void put_good(struct octets *wire, size_t per_record)
{
    static struct octets extensions, body, message;
    extensions.len = body.len = message.len = 0;
    put_server_name(&extensions, 0, "ca.example", 10);
    put_body(&body, extensions.data, extensions.len);
    put_message(&message, body.data, body.len);
    put_records(wire, &message, per_record);
}

static void test_octets_behind(void **state)
{
    (void)state;
    static struct octets wire;
    static const char *const behind[] = {"\x17\x03\x03\0\x04", /* RFC 8446 4.2.10: early data */
                                         "\x14\x03\x03\0\x01", /* RFC 8446 appendix D.4 */
                                         "\x16\x03\x03\xff\xff", "GET /", "\x16\x02\x01\0\0"};
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        wire.len = 0;
        put_good(&wire, 50);
        put(&wire, behind[i], 5);
        feed("octets behind the hello", wire.data, wire.len, CLIENT_HELLO_OK, "ca.example");
    }

    /* A second message in the same record; and the record need not be complete. */
    wire.len = 0;
    put_good(&wire, 16384);
    size_t record = wire.len - 5 + 300;
    wire.data[3] = (unsigned char)(record >> 8);
    wire.data[4] = (unsigned char)record;
    feed("the rest of the record missing", wire.data, wire.len, CLIENT_HELLO_OK, "ca.example");
    put(&wire, "\x0b\0\0\x01x", 5);
    feed("another message in the record", wire.data, wire.len, CLIENT_HELLO_OK, "ca.example");
}

/* A hello that fills its limit to the last octet, and one that misses it by one. */
static void test_limit(void **state)
{
    (void)state;
    static struct octets extensions, body, message, wire;
    static unsigned char zeros[CLIENT_HELLO_MAX];
    for (size_t over = 0; over < 2; over++) {
        extensions.len = body.len = message.len = wire.len = 0;
        put_server_name(&extensions, 0, "ca.example", 10);
        /*
         * Four record headers, the message header, the body up to the extensions and their
         * length, this extension.
         */
        size_t rest = CLIENT_HELLO_MAX - 4 * 5 - 4 - (sizeof UP_TO_EXTENSIONS - 1) - 2 -
                      extensions.len - 4 + over;
        put_number(&extensions, 21, 2);
        put_number(&extensions, rest, 2);
        put(&extensions, zeros, rest);
        put_body(&body, extensions.data, extensions.len);
        put_message(&message, body.data, body.len);
        put_records(&wire, &message, 16384);
        assert_int_equal(wire.len, CLIENT_HELLO_MAX + over);

        struct client_hello hello;
        assert_int_equal(parse(&hello, wire.data, CLIENT_HELLO_MAX - 1), CLIENT_HELLO_MORE);
        enum client_hello_result expected = over == 0 ? CLIENT_HELLO_OK : CLIENT_HELLO_MALFORMED;
        assert_int_equal(parse(&hello, wire.data, CLIENT_HELLO_MAX), expected);
        assert_int_equal(parse(&hello, wire.data, wire.len), expected);
    }
}

/* One octet in each record, for ever: a bound on the records ends it, long before the octets do. */
static void test_tiny_records(void **state)
{
    (void)state;
    static struct octets message, wire;
    static unsigned char zeros[10000];
    message.len = wire.len = 0;
    put_message(&message, zeros, sizeof zeros);
    put_records(&wire, &message, 1);
    struct client_hello hello;
    assert_int_equal(parse(&hello, wire.data, 4096 * 6), CLIENT_HELLO_MORE);
    assert_int_equal(parse(&hello, wire.data, 4096 * 6 + 5), CLIENT_HELLO_MALFORMED);
}

static void test_alert(void **state)
{
    (void)state;
    static const enum tls_alert alerts[] = {TLS_ALERT_DECODE_ERROR, TLS_ALERT_ACCESS_DENIED,
                                            TLS_ALERT_UNRECOGNIZED_NAME};
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        unsigned char record[TLS_ALERT_OCTETS];
        const unsigned char expected[] = {21, 3, 3, 0, 2, 2, (unsigned char)alerts[i]};
        client_hello_alert(record, alerts[i]);
        assert_memory_equal(record, expected, sizeof expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_clients),          cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_server_name_structure), cmocka_unit_test(test_names),
        cmocka_unit_test(test_name_octets),           cmocka_unit_test(test_records),
        cmocka_unit_test(test_octets_behind),         cmocka_unit_test(test_limit),
        cmocka_unit_test(test_tiny_records),          cmocka_unit_test(test_alert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
