"""The results tables: rows, receipts, and what is generated from them."""
