/**
 * Every reply the inbound side can give: code, enhanced code and text in one table.
 *
 * No other module of listen/, session/, policy/, auth/ or content/ writes a reply of its own (route/ owns those about addresses).
 * Texts are for people; programs read the codes. Nothing here says more to a stranger than the codes do. Our own trouble is always 4xx.
 * RFC 5321 §4.2.3 (codes), RFC 3463 and RFC 5248 (enhanced codes), RFC 4954 §6 (AUTH), RFC 3207 §4 (STARTTLS).
 */
import type { Reply } from "../reply.ts";

const reply = (code: number, enhanced: string, text: string): Reply => ({ code, enhanced, text });

/** Soft bounce: nothing the server says is for good; clients keep their mail. As Postfix's soft_bounce does. */
export const softened = (given: Reply): Reply =>
  given.code < 500 ? given : { code: given.code - 100, enhanced: given.enhanced.replace(/^5/, "4"), text: given.text };

export const replies = {
  // The session. A greeting and the answer to EHLO carry no enhanced code (RFC 2034 §3).
  greeting: (hostname: string) => reply(220, "", `${hostname} ESMTP Packetboat`),
  hello: (hostname: string) => reply(250, "", hostname),
  extensions: (hostname: string, keywords: readonly string[]) => reply(250, "", [hostname, ...keywords].join("\n")),
  ok: reply(250, "2.0.0", "Ok"),
  bye: reply(221, "2.0.0", "Bye"),
  help: reply(214, "2.0.0", "See RFC 5321"),
  cannotVerify: reply(252, "2.1.5", "Cannot VRFY user, but will accept message and attempt delivery"),
  noExpansion: reply(502, "5.5.1", "EXPN is not available"),
  unknownCommand: reply(500, "5.5.2", "Command not recognized"),
  lineTooLong: reply(500, "5.5.2", "Line too long"),
  badCharacters: reply(500, "5.5.2", "Control characters or broken UTF-8 in a command"),
  heloSyntax: reply(501, "5.5.4", "Syntax: HELO or EHLO hostname"),
  noArgument: (verb: string) => reply(501, "5.5.4", `Syntax: ${verb}`),
  notAProxy: reply(550, "5.7.0", "Insufficient authorization"),
  transactionUnderWay: reply(503, "5.5.1", "MAIL transaction in progress"),
  attributeSyntax: (verb: string) => reply(501, "5.5.4", `Syntax: ${verb} attribute=value...`),
  badAttribute: (verb: string, name: string) => reply(501, "5.5.4", `Bad ${verb} ${name} syntax`),
  etrnNotOffered: reply(502, "5.5.1", "ETRN is not offered here"),
  verifySyntax: reply(501, "5.5.4", "Syntax: VRFY address"),
  etrnSyntax: reply(501, "5.5.4", "Syntax: ETRN domain"),
  etrnNothing: (domain: string) => reply(251, "2.0.0", `No messages waiting for ${domain}`),
  etrnStarted: (domain: string) => reply(252, "2.0.0", `Pending messages for ${domain} started`),
  etrnStartedCount: (count: number, domain: string) =>
    reply(253, "2.0.0", `${count} pending messages for ${domain} started`),
  etrnUnable: (domain: string) => reply(458, "4.3.0", `Unable to queue messages for ${domain}`),
  etrnNotAllowed: (domain: string) => reply(459, "4.7.1", `${domain} not allowed: no mail waits here to be asked for`),
  ruleBreaker: reply(221, "2.7.0", "Error: I can break rules, too. Goodbye."),
  heloFirst: reply(503, "5.5.1", "Send HELO or EHLO first"),
  idle: reply(421, "4.4.2", "Idle for too long, closing connection"),
  tooSlow: reply(421, "4.4.2", "Timeout exceeded, closing connection"),
  tooManyMessages: reply(421, "4.7.0", "Enough messages for one connection, come again"),
  tooManyNewConnections: reply(421, "4.7.0", "Too many connections from your address in a short time"),
  tooMuchMail: reply(450, "4.7.1", "Too much mail from your address, try again later"),
  tooManyRecipientsOfClient: reply(450, "4.7.1", "Too many recipients from your address, try again later"),
  tooManyAuths: reply(450, "4.7.1", "Too many AUTH commands from your address, try again later"),
  tooManyTlsSessions: reply(454, "4.7.0", "Too many new TLS sessions from your address, try again later"),
  shuttingDown: reply(421, "4.3.2", "Service is shutting down, try again"),
  tooManyErrors: reply(421, "4.7.0", "Too many errors, closing connection"),
  tooManyConnections: reply(421, "4.7.0", "Too many connections, try again later"),
  tooManyClientConnections: reply(421, "4.7.0", "Too many connections from your address"),
  broken: reply(421, "4.3.0", "Local trouble, closing connection"),
  internal: reply(451, "4.3.0", "Local trouble, try again later"),

  // What a client must pass before its mail is looked at. `code`: 550 to every recipient, 521 (RFC 7504 §3) before hanging up.
  testFailed: (code: number) => reply(code, "5.5.1", "Protocol error"),
  testFailedByCommand: (code: number) => reply(code, "5.7.0", "This is a mail server"),
  networkRejected: (code: number) => reply(code, "5.3.2", "Service currently unavailable"),
  clientListed: (code: number, address: string, list: string) =>
    reply(code, "5.7.1", `Service unavailable; client [${address}] blocked using ${list}`),
  /** Postfix's default_rbl_reply. */
  listed: (what: string, shown: string, list: string, why: string | undefined) =>
    reply(
      554,
      "5.7.1",
      `Service unavailable; ${what} [${shown}] blocked using ${list}${why === undefined ? "" : `; ${why}`}`,
    ),
  listedText: (text: string) => reply(554, "5.7.1", text),
  listUnanswered: reply(450, "4.7.1", "An allow-list does not answer, try again later"),
  greylisted: (seconds: number) => reply(451, "4.7.1", `Greylisted, try again in ${seconds} seconds`),

  // TLS and authentication.
  readyForTls: reply(220, "2.0.0", "Ready to start TLS"),
  tlsActive: reply(503, "5.5.1", "TLS is already active"),
  tlsUnavailable: reply(454, "4.7.0", "TLS is not available now"),
  tlsNotOffered: reply(502, "5.5.1", "STARTTLS is not offered here"),
  startTlsFirst: reply(530, "5.7.0", "Must issue a STARTTLS command first"),
  authenticationRequired: reply(530, "5.7.0", "Authentication required"),
  clientCertificateRequired: reply(530, "5.7.0", "A TLS client certificate is required"),
  authNotOffered: reply(502, "5.5.1", "AUTH is not offered here"),
  authMechanism: reply(504, "5.5.4", "Mechanism is not offered here; see EHLO"),
  authSyntax: reply(501, "5.5.2", "Cannot decode the response"),
  authCancelled: reply(501, "5.7.0", "Authentication cancelled"),
  authRepeated: reply(503, "5.5.1", "Already authenticated"),
  authInTransaction: reply(503, "5.5.1", "AUTH is not permitted during a mail transaction"),
  authUsername: reply(334, "", "VXNlcm5hbWU6"),
  authPassword: reply(334, "", "UGFzc3dvcmQ6"),
  authContinue: reply(334, "", ""),
  authChallenge: (data: string) => reply(334, "", data),
  authSucceeded: reply(235, "2.7.0", "Authentication successful"),
  authFailed: reply(535, "5.7.8", "Authentication credentials invalid"),
  authUnavailable: reply(454, "4.7.0", "Temporary authentication failure"),
  authLimited: reply(454, "4.7.0", "Too many failed logins, try again later"),

  // The envelope.
  senderOk: reply(250, "2.1.0", "Ok"),
  recipientOk: reply(250, "2.1.5", "Ok"),
  mailSyntax: reply(501, "5.5.4", "Syntax: MAIL FROM:<address>"),
  rcptSyntax: reply(501, "5.5.4", "Syntax: RCPT TO:<address>"),
  badSender: reply(501, "5.1.7", "Bad sender address syntax"),
  badRecipient: reply(501, "5.1.3", "Bad recipient address syntax"),
  addressNeedsUtf8: reply(553, "5.6.7", "Address needs the SMTPUTF8 parameter"),
  parameterUnknown: reply(555, "5.5.4", "Parameter not recognized"),
  parameterSyntax: (name: string) => reply(501, "5.5.4", `Bad or repeated parameter ${name}`),
  nestedMail: reply(503, "5.5.1", "Nested MAIL command"),
  mailFirst: reply(503, "5.5.1", "Need MAIL command"),
  rcptFirst: reply(503, "5.5.1", "Need RCPT command"),
  messageBegun: reply(503, "5.5.1", "A message is under way by BDAT"),
  noValidRecipients: reply(554, "5.5.1", "No valid recipients"),
  tooManyRecipients: reply(452, "4.5.3", "Too many recipients"),
  relayDenied: reply(554, "5.7.1", "Relay access denied"),
  senderNotOwned: reply(553, "5.7.1", "Sender address not owned by the authenticated user"),
  accessRejected: (text: string | undefined) => reply(554, "5.7.1", text ?? "Access denied"),
  senderNotLoggedIn: reply(553, "5.7.1", "Sender address rejected: not logged in"),
  relayDeniedForNow: reply(454, "4.7.1", "Relay access denied"),
  accessDeferred: (text: string | undefined) => reply(450, "4.7.1", text ?? "Try again later"),
  recipientUndeliverable: reply(450, "4.1.1", "Recipient address rejected: undeliverable address"),
  recipientUnknownBehind: reply(550, "5.1.1", "Recipient address rejected: undeliverable address"),
  recipientUnverified: reply(450, "4.1.1", "Recipient address rejected: unverified address, try again later"),
  senderUndeliverable: reply(450, "4.1.7", "Sender address rejected: undeliverable address"),
  senderUnknownBehind: reply(550, "5.1.7", "Sender address rejected: undeliverable address"),
  senderUnverified: reply(450, "4.1.7", "Sender address rejected: unverified address, try again later"),
  policyServiceFailed: reply(451, "4.3.5", "Server configuration problem"),
  accessDeferIfPermit: (text: string | undefined) => reply(450, "4.7.1", text ?? "Service unavailable"),
  /** A rule's own codes; what is written decides, the class of the enhanced code is that of the code. */
  accessRefused: (code: number, enhanced: string, text: string | undefined) =>
    reply(code, `${String(code)[0]}${enhanced.slice(1)}`, text ?? "Access denied"),
  accessUnreadable: reply(451, "4.3.5", "Server configuration problem"),
  lookupFailed: reply(451, "4.3.0", "A look-up failed, try again later"),

  // Restrictions: named checks of MailServer.spec.restrictions, worded as Postfix words them.
  restrictedLater: reply(450, "4.3.2", "Try again later"),
  deferIfPermit: reply(450, "4.7.0", "Deferred unless refused (DeferIfPermit)"),
  deferIfReject: reply(450, "4.7.0", "Deferred unless accepted (DeferIfReject)"),
  encryptionWanted: reply(450, "4.7.1", "Session encryption is required"),
  accessDenied: reply(503, "5.7.0", "Access denied"),
  clientNameUnknown: (address: string) =>
    reply(450, "4.7.25", `Client host rejected: cannot find your hostname, [${address}]`),
  clientReverseNameUnknown: (address: string) =>
    reply(450, "4.7.1", `Client host rejected: cannot find your reverse hostname, [${address}]`),
  heloInvalidName: reply(501, "5.5.2", "Helo command rejected: Invalid name"),
  heloInvalidAddress: reply(501, "5.5.2", "Helo command rejected: invalid ip address"),
  heloNotQualified: reply(504, "5.5.2", "Helo command rejected: need fully-qualified hostname"),
  heloUnknown: reply(450, "4.7.1", "Helo command rejected: Host not found"),
  senderNotQualified: reply(504, "5.5.2", "Sender address rejected: need fully-qualified address"),
  recipientNotQualified: reply(504, "5.5.2", "Recipient address rejected: need fully-qualified address"),
  senderDomainUnknown: reply(450, "4.1.8", "Sender address rejected: Domain not found"),
  recipientDomainUnknown: reply(450, "4.1.2", "Recipient address rejected: Domain not found"),
  senderDomainTakesNoMail: reply(550, "5.7.27", "Sender address rejected: Domain does not accept mail (nullMX)"),
  recipientDomainTakesNoMail: reply(556, "5.1.10", "Recipient address rejected: Domain does not accept mail (nullMX)"),
  senderUnlisted: reply(550, "5.1.0", "Sender address rejected: User unknown"),
  pipelinedTooEarly: reply(503, "5.5.0", "Improper use of SMTP command pipelining"),
  multiRecipientBounce: reply(550, "5.5.3", "Multi-recipient bounce"),

  // The message.
  startData: reply(354, "", "End data with <CR><LF>.<CR><LF>"),
  bdatSyntax: reply(501, "5.5.4", "Syntax: BDAT octets [LAST]"),
  chunkTaken: (octets: number) => reply(250, "2.0.0", `Ok: ${octets} octets`),
  queued: (id: string) => reply(250, "2.0.0", `Ok: queued as ${id}`),
  bareNewline: reply(550, "5.6.0", "Message holds a bare CR or LF (RFC 5321 section 2.3.8)"),
  nulByte: reply(550, "5.6.0", "Message holds a NUL character"),
  messageTooLarge: reply(552, "5.3.4", "Message size exceeds the limit"),
  headerTooLarge: reply(552, "5.3.4", "Message header too long"),
  tooManyHops: reply(554, "5.4.6", "Too many hops"),
  queueFull: reply(452, "4.3.1", "Insufficient system storage"),
  queueFailed: reply(421, "4.3.0", "Queue is not available, try again later"),
} as const;
