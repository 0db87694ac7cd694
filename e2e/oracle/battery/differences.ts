/**
 * Where Packetboat answers otherwise than Postfix on purpose: which dialogue, what each of them says, and why. docs/differences-from-postfix.md is the same list in prose.
 *
 * A difference holds for exactly the classes it names; one that no dialogue shows any more is reported like one that nobody listed.
 */

import { seedDifferences } from "../seeds/differences.ts";

export interface Difference {
  /** Word by which the documentation calls it. */
  readonly name: string;
  readonly reason: string;
  /** Ids of dialogues, with * for any part of one. */
  readonly dialogues: readonly string[];
  /** `5 5` (first digits of reply and status), `2`, `closed`, `silence`, or `to a@b, c@d`: the recipients. */
  readonly answers: readonly (readonly [postfix: string, packetboat: string])[];
}

export const differences: readonly Difference[] = [
  ...seedDifferences,
  {
    name: "children of a domain",
    reason:
      "relay_domains of Postfix 3.7 takes the children of a domain along (parent_domain_matches_subdomains). A MailDomain is that domain alone; its children are somebody else's until they have one of their own.",
    dialogues: ["a/relay/child-of-ours/trusted"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "address syntax",
    reason:
      "Postfix reads addresses as they stand in old headers and mends what it can: a dot behind the domain, two @, blanks or brackets inside the brackets, dots at the ends of a local part under strict_rfc821_envelopes. Packetboat takes what RFC 5321 §4.1.2 allows: what two servers read differently is how mail gets to somebody it was not checked for.",
    dialogues: [
      "*/trailing-dot/*",
      "*/ours-trailing-dot/*",
      "*/two-ats-ours-first/trusted",
      "*/two-ats/*",
      "*/blanks-in-brackets/*",
      "*/nested-brackets/*",
      "*/empty-local-part/trusted",
      "*/empty-quoted-local-part/trusted",
      "*/comment/stranger",
      "a/sender/dot-first/*",
      "a/sender/dot-last/*",
    ],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "percent and bang",
    reason:
      "Routes of the 1980s (allow_percent_hack, swap_bangpath) are not rewritten: % and ! are letters of a local part. Where they could route behind us, they are refused as relaying.",
    dialogues: ["*/percent-alone/trusted", "*/percent-at-literal/trusted", "*/bang-alone/trusted"],
    answers: [
      ["to victim@elsewhere.example", "to victim%elsewhere.example@mta.example.net"],
      ["to victim@elsewhere.example", "to elsewhere.example!victim@mta.example.net"],
      ["to victim@elsewhere.example", "to victim%elsewhere.example@maeve.example.net"],
      ["to victim@elsewhere.example", "to victim%elsewhere.example@[127.0.0.1]"],
      ["to victim@elsewhere.example", "to elsewhere.example!victim@maeve.example.net"],
    ],
  },
  {
    name: "postmaster of every domain",
    reason:
      "RFC 5321 §4.5.1: postmaster@ exists in every domain that is served, whether somebody listed it or not; it reaches spec.postmaster.",
    dialogues: ["*/postmaster-ours/*"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "own address as a domain",
    reason:
      "Postfix knows the addresses of its interfaces and takes user@[address] for a local user. The address of a pod means nothing and changes: for trusted clients it is a foreign host like others, for strangers it is relaying.",
    dialogues: ["*/own-literal/trusted"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "numbers as a domain",
    reason:
      "user@192.0.2.1 without brackets is a name by its syntax. No such name exists, which trusted clients hear by a report instead of a 501; strangers are refused as relaying by both.",
    dialogues: ["*/address-unbracketed/trusted", "*/address-as-number/trusted"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "HELO with two words",
    reason: "RFC 5321 §4.1.1.1: one name. Postfix joins the words; no mail server sends them.",
    dialogues: ["a/helo/two-words/*"],
    answers: [["2", "5 5"]],
  },
  {
    name: "VRFY tells nothing",
    reason:
      "252 for every address (RFC 5321 §7.3): nobody learns who exists. Postfix answers as RCPT would, unless disable_vrfy_command is set.",
    dialogues: ["a/sequence/vrfy/stranger", "a/sequence/vrfy-foreign/stranger"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "HELP is there",
    reason: "RFC 5321 §4.5.1 wants it of servers that can; it is one line. Postfix does not know the command.",
    dialogues: ["a/sequence/help/stranger"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "ETRN by queue name",
    reason:
      "ETRN #queue is for queues by name, and there are none; it is a mistake of syntax instead of a temporary refusal.",
    dialogues: ["a/sequence/etrn/stranger"],
    answers: [["4", "5 5"]],
  },
  {
    name: "a recipient discarded",
    reason:
      "DISCARD by recipient throws away that recipient's copy. Postfix throws the message away for all its recipients, which its own manual calls a limitation.",
    dialogues: ["a/recipient/one-dropped/stranger"],
    answers: [["to", "to alice@example.org"]],
  },
  {
    name: "aliases that lead nowhere",
    reason:
      "An alias to an address of ours that does not exist: Postfix asks only about the address of RCPT and hands the other to the next hop. Packetboat knows its users and reports to the sender at once.",
    dialogues: [
      "b/to/to-nobody/*",
      "b/to/to-nobody-and-alice/*",
      "b/to/moved-domain-unknown/*",
      "b/null-sender/to-nobody/*",
      "d/place/canonical-domain-unknown/trusted",
    ],
    answers: [
      ["to nobody@example.org", "to report bob@sender.example"],
      ["to alice@example.org, nobody@example.org", "to alice@example.org, report bob@sender.example"],
      ["to nobody@example.org", "to report alice@example.org"],
    ],
  },
  {
    name: "alias loops",
    reason:
      "Postfix says 451 4.6.0 behind the message until the sender's queue gives up after days. Packetboat takes the message and reports the loop (5.4.6) at once; whoever else is named in the alias gets it.",
    dialogues: ["b/to/ring/*", "b/to/gnir/*", "b/to/ring-and-alice/*", "b/null-sender/ring/*"],
    answers: [["4 4", "2 2"]],
  },
  {
    name: "submission refuses at MAIL",
    reason:
      "Who is not logged in, and a sender that is not the user's, are refused at MAIL; Postfix waits for RCPT (smtpd_delay_reject). A mail program shows the reply beside the sender, whom it is about.",
    dialogues: [
      "s/starttls/plain-wrong-then-mail/*",
      "s/*/not-logged-in-mail/*",
      "s/starttls/auth-in-transaction-at-first/*",
      "s/*/as-another/*",
      "s/starttls/as-another-plus/*",
      "s/starttls/as-nobody-of-ours/*",
      "s/starttls/as-a-stranger/*",
      "s/starttls/bob-as-alice/*",
      "s/starttls/bob-as-sales/*",
      "s/starttls/alice-as-team/*",
    ],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "RSET before STARTTLS",
    reason: "Where TLS is required, Postfix refuses RSET with 530. It gives nothing away and changes nothing: 250.",
    dialogues: ["s/clear/rset/submission"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "back at once after an outage",
    reason:
      "A Postfix process leaves a MySQL host alone for a minute after it failed, and goes on with 451. Packetboat asks again with the next recipient, with a time limit on each attempt.",
    dialogues: ["c/up/*"],
    answers: [
      ["4 4", "2 2"],
      ["4 4", "5 5"],
    ],
  },
  {
    name: "outage behind an accepted recipient",
    reason:
      "Where the recipient itself needs no look-up, the message is taken, and waits in the queue until its aliases can be asked. Postfix expands while it takes the message, and says 451.",
    dialogues: ["c/down/postmaster/stranger"],
    answers: [["4 4", "2 2"]],
  },
  {
    name: "unknown users are refused for good",
    reason:
      "Under defer_if_permit Postfix puts off what no restriction refused, unknown users included, because it asks for them last. Nothing that may come back later makes that user exist: 550.",
    dialogues: ["r/defer-if-permit*/unknown/*", "r/defer-both-reject/unknown/client"],
    answers: [["4 4", "5 5"]],
  },
  {
    name: "percent behind a delimiter",
    reason:
      "alice+x%y@ours is alice with an extension, and is delivered here. Postfix refuses whatever holds % or another @ in its local part, because it might route (allow_untrusted_routing); Packetboat refuses it only where the mail is handed on.",
    dialogues: ["d/lenient/percent-behind-delimiter/stranger"],
    answers: [["5 5", "2 2"]],
  },
  {
    name: "parameters said twice",
    reason: "RFC 5321 §4.1.1.11: a parameter stands once. Postfix takes the last one.",
    dialogues: ["d/size/declared-twice/*"],
    answers: [["2 2", "5 5"]],
  },
  {
    name: "junk commands are counted from the limit on",
    reason:
      "The first command beyond limits.junkCommands is the first error, as Postfix's manual says of smtpd_junk_command_limit; Postfix itself begins one later.",
    dialogues: ["d/limit/junk-*/*"],
    answers: [
      ["2 2", "4 4"],
      ["2", "4 4"],
    ],
  },
];
