"""Models answering people and programs: in this process, and through servers of OpenAI's protocol."""
