/** Differences that the seeds' dialogues show, for the list in ../battery/differences.ts. */
import type { Difference } from "../battery/differences.ts";

export const seedDifferences: readonly Difference[] = [
  {
    name: "relaying is refused for good",
    reason:
      "defer_unauth_destination (454) is Postfix's safety net for the day of a migration, and its default. Nobody can switch off the check for relaying here, and a client that is told 4xx tries again for days.",
    dialogues: [
      "002/relay/*",
      "002/to/*",
      "003/relay/*",
      "003/to/*",
      "004/relay/*",
      "004/to/missing",
      "004/to/foreign",
    ],
    answers: [["4 4", "5 5"]],
  },
  {
    name: "percent, bang and at in a local part are letters",
    reason:
      "Postfix reads routes in the local part (allow_percent_hack, swap_bangpath) and refuses them as relaying. Here nothing is read in them (RFC 5321 §2.3.11): the address is one of the domain, which the catch-all takes. Nothing is relayed.",
    dialogues: ["002/relay/*", "001/relay/percent-behind-delimiter"],
    answers: [
      ["4 4", "2 2"],
      ["5 5", "2 2"],
    ],
  },
  {
    name: "children of a domain",
    reason:
      "relay_domains takes the children of a domain along (parent_domain_matches_subdomains). A MailDomain is that domain alone; its children are somebody else's until they have one of their own.",
    dialogues: ["004/relay/child-of-ours"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "who does not exist is refused for good",
    reason:
      "reject_unverified_recipient answers 450 by default, also where Postfix's own tables say that there is nobody, or that somebody has moved. What our own objects say is certain: 550, 551.",
    dialogues: ["004/to/relocated", "004/to/own-unknown"],
    answers: [["4 4", "5 5"]],
  },
  {
    name: "sloppy addresses",
    reason:
      "A domain that ends with a dot, blanks or brackets in brackets are no addresses by RFC 5321 §4.1.2. Postfix repairs them.",
    dialogues: ["*/relay/ours-trailing-dot", "*/relay/blanks-in-brackets", "*/relay/nested-brackets"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "UTF-8 that was not announced",
    reason: "RFC 6531 §3.4: an address in UTF-8 needs SMTPUTF8 at MAIL. Postfix is not strict by default.",
    dialogues: ["001/relay/utf8-unannounced", "002/relay/utf8-unannounced", "004/relay/utf8-unannounced"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "postmaster is a person",
    reason:
      "Postfix completes <postmaster> with myorigin and leaves it to aliases. Here spec.postmaster says who it is, so that it always arrives.",
    dialogues: ["*/relay/postmaster", "*/relay/postmaster-capitals"],
    answers: [
      ["to postmaster@smtp.example.com", "to yrt127@example.com"],
      ["to postmaster@example.com", "to alice@example.com"],
      ["to postmaster@mta.example.net", "to postmaster@example.net"],
    ],
  },
  {
    name: "postmaster of every domain",
    reason:
      "RFC 5321 §4.5.1: postmaster@ exists in every domain that is served, whether somebody listed it or not; it reaches spec.postmaster.",
    dialogues: ["003/relay/postmaster-ours"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "submission says no at MAIL",
    reason:
      "Without a login, or with a sender that is not the login's, MAIL is refused (RFC 6409 §4.3, §6.1). Postfix delays the same refusal to RCPT.",
    dialogues: ["002/submission/*", "003/submission/*"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "a domain's owner owns its users",
    reason:
      "sendAs: [\"@example.com\"] means every address of the domain, as the text says it should. In Postfix's sender_login_maps an address with a line of its own is taken from the domain's owner.",
    dialogues: ["002/submission/domain-owner-foo"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "trusted networks relay",
    reason:
      "The setup's smtpd_recipient_restrictions have reject_unauth_destination without permit_mynetworks, so that its Postfix does not relay for its own networks on port 25, although smtpd_relay_restrictions say it should. Here networks.trusted may relay, and the check of that name knows it.",
    dialogues: ["002/inside/relays"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "VRFY tells nothing",
    reason:
      "252 for every address (RFC 5321 §7.3): nobody learns who exists. Postfix answers as RCPT would, unless disable_vrfy_command is set.",
    dialogues: ["000/protocol/verb-vrfy-*"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "HELP is there",
    reason: "RFC 5321 §4.5.1 wants it of servers that can; it is one line. Postfix does not know the command.",
    dialogues: ["000/protocol/verb-help"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "syntax of MAIL",
    reason:
      "With strictEnvelopes the path stands right behind the colon, and is one of RFC 5321 §4.1.2: with a domain, without empty atoms, local parts of at most 64 octets, each parameter once. Postfix repairs or lets through what its strict_rfc821_envelopes does not name.",
    dialogues: [
      "000/protocol/syntax-space-after-colon",
      "000/protocol/syntax-sender-without-domain",
      "000/protocol/syntax-sender-dots",
      "000/protocol/parameter-size-twice",
      "000/protocol/line-long-mail",
    ],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "a blank before the colon",
    reason: "MAIL FROM :<…> can only mean one thing.",
    dialogues: ["000/protocol/syntax-space-before-colon"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "control characters and long lines",
    reason:
      "A command is printable and at most 2048 octets long (RFC 5321 §4.5.3.1.4 asks for 512); NUL is none of it.",
    dialogues: ["000/protocol/syntax-control-character", "000/protocol/line-long-command", "000/protocol/line-null"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "bare CR, bare LF and NUL in a message",
    reason:
      "Refused (550 5.6.0), so that no message can be read as two by the next hop (CERT VU#302671). Postfix of this version repairs line ends, which is what smuggling lives on; newer ones can refuse as well.",
    dialogues: ["000/protocol/smuggle-*", "000/protocol/data-null"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "content sent before DATA was answered",
    reason:
      "Both refuse DATA and read what follows as commands. Postfix hangs up at the first that looks like a header line (smtpd_forbidden_commands); here each is an unknown command, and errors are counted.",
    dialogues: ["000/protocol/pipeline-after-data"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "fifty hops",
    reason: "The limit is the same, but our own Received field is not counted.",
    dialogues: ["000/protocol/data-49-hops"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "HELO with a dot at the end",
    reason: "A complete name in DNS notation; it is looked up as what it is. Postfix does not find it.",
    dialogues: ["000/helo/trailing-dot"],
    answers: [["4 4", "2 2"]],
  },
  {
    name: "HELO with two words",
    reason: "RFC 5321 §4.1.1.1: one name. Postfix joins the words; no mail server sends them.",
    dialogues: ["000/helo/two-words"],
    answers: [["2", "5 5"]],
  },
  {
    name: "own address as a domain",
    reason:
      "Postfix takes user@[its address] for a local user, and misses it in its tables. The address of a pod means nothing and changes: it is a foreign sender like others.",
    dialogues: ["000/sender/literal"],
    answers: [["5 5", "2 2"]],
  },
];
