/** What makes two recipients of a message the same: the address as tables compare it (domain and local part without case, quotes removed). */
import { addressKey } from "../config/address.ts";

export const recipientKey = (address: string): string => addressKey(address) ?? address.toLowerCase();
