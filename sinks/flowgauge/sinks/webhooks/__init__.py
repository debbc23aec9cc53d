"""Outgoing messages: signed webhooks to checked addresses."""
