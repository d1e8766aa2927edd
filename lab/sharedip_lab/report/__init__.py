"""What people read: tables, JSON, a page with timelines, the live view."""
