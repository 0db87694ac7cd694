/**
 * Strangers: clients that do not speak SMTP at all, told by their first words.
 *
 * A web page can make a browser send what it likes to a mail port, and the mail would be in the body of the request: who speaks HTTP, or begins a line with what no
 * command begins with (a TLS hello on a plain port among it), gets one reply and no second line. Pure. As Postfix' smtpd_forbidden_commands.
 */

/** RFC 9110 §9.3, and CONNECT of proxies; none is an SMTP verb. */
const httpVerbs = /^(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)(?: |$)/i;

export const isStrangersLine = (line: string): boolean => httpVerbs.test(line) || /^[^A-Za-z]/.test(line);

/** RFC 8446 §5.1: a handshake record. It may hold no line end: whoever waits for one waits until the idle time is over. */
export const isTlsHello = (octets: Buffer): boolean => octets[0] === 22;
