/** All pairs, in the order in which they run. */
import type { Pair } from "./pair.ts";
import { seed000 } from "../seeds/seed-000.ts";
import { seed001 } from "../seeds/seed-001.ts";
import { seed002 } from "../seeds/seed-002.ts";
import { seed003 } from "../seeds/seed-003.ts";
import { seed004 } from "../seeds/seed-004.ts";
import { virtual } from "./pairs/aliases.ts";
import { limited } from "./pairs/limits.ts";
import { mysql } from "./pairs/mysql.ts";
import { relay } from "./pairs/relay.ts";
import { restrictions } from "./pairs/restrictions.ts";
import { submission } from "./pairs/submission.ts";

export const pairs: readonly Pair[] = [
  seed000,
  seed001,
  seed002,
  seed003,
  seed004,
  relay,
  virtual,
  submission,
  mysql,
  restrictions,
  limited,
];
